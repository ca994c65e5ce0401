"""Which release of this project is running."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: The distribution whose version is reported.
PROJECT = "concrete-crack-mlops"


def release() -> str:
    """Return the version of this project; 0 where it runs without being installed."""
    try:
        return version(PROJECT)
    except PackageNotFoundError:
        return "0"
