"""One real tool each; a package, so that files may be named as those of the unit tests."""
