"""The networks: everything that needs TensorFlow and Keras, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _silenced_native_messages() -> Iterator[None]:
    """Send what C++ code writes to standard error nowhere; Python's exceptions still rise."""
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


# TensorFlow tells of absent GPUs before any of its own log settings are in force.
with _silenced_native_messages():
    import tensorflow  # noqa: F401
