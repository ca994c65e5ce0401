"""Whole photographs: cut into tiles, predicted tile by tile, and shown as one picture."""
