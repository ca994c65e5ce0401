"""The figures of the evaluation, drawn with matplotlib."""
