"""One real tool each; a package, so that a file may be named as its neighbour among the unit tests."""
