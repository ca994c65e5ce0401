"""The knowledge of the project: pure functions, and one adapter for each outside tool."""
