"""Predict any number of images without a server, and resume where it stopped."""
