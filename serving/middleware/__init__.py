"""Layers around every route: logs, headers, limits, keys."""
