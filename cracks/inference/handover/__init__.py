"""The service folder: which bundle is in service, and what its processes report."""
