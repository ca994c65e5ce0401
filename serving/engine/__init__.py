"""From an upload to a prediction: batches, the champion in service, free places."""
