"""The HTTP service that predicts `crack` or `no crack` with the champion's bundle."""
