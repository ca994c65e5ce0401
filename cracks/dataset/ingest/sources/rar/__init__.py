"""Unpack .rar archives: through libarchive, and where that cannot, through unar."""
