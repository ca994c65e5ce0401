"""Where a patch comes from: the photograph that it was cut from, its site, and the time."""
