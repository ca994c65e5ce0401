"""What a classifier can do: metrics, intervals, slices, behaviour, comparison."""
