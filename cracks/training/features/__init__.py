"""The input of the trainable part, computed once and kept per shard."""
