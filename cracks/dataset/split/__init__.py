"""Which patches must stay together, and which split each is assigned to."""
