"""The data set: shards, manifest, labels, and what is known of each patch."""
