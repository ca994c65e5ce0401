"""The HTTP service that answers `crack` or `no crack` with the champion's bundle."""
