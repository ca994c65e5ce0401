"""Which model is good enough, which is in service, and where both came from."""
