"""The input of the trainable part, computed once and cached per shard."""
