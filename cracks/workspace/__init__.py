"""A checkout of this project: its parameters, places, reports and tables."""
