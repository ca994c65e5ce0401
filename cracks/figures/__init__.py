"""The figures of the stages, drawn with matplotlib."""
