"""Whole photographs: cut into patches, answered patch by patch, and shown as one picture."""
