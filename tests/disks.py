"""Small disks, which fill up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system of its own at `place`, or skip the test where that is not allowed.

    Args:
        place: a folder that is not there yet.
        size: as tmpfs takes it: 512k, 200m.
    """
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        # What still holds a file open there lets go of it as it ends.
        subprocess.run(["umount", "--lazy", place], check=True)
