"""Whether the predictions of a window still look like those of the reference."""
