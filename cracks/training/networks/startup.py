"""Load TensorFlow without its first messages, and without what Keras imports for others."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: What Keras imports only to offer more where it is installed; a third of its time goes there.
UNUSED = ("sklearn", "pandas", "matplotlib.pyplot")


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


@contextmanager
def _without_what_is_unused() -> Iterator[None]:
    """Let nothing of `UNUSED` be found that is not imported yet; afterwards it is as before."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _without_collecting_garbage() -> Iterator[None]:
    """Disable garbage collection in this block: of its million new objects none is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def load_tensorflow() -> None:
    """Import TensorFlow, once a process, before anything else of this package is imported.

    It works without this call too, but takes a third longer, and reports absent GPUs before any
    of its own log settings are in force.
    """
    with _silenced_native_messages(), _without_what_is_unused(), _without_collecting_garbage():
        import tensorflow  # noqa: F401
