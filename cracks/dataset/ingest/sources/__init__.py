"""Where photographs come from: folders, archives, S3, Mendeley Data, the drawn sample."""
