"""The plainest program that reads every photograph once; run by its path, it prints what it found.

One thread: bytes, SHA-256, full decoding with Pillow, mean grey value. Nothing is written. It uses
nothing of this project, so that what it finds is independent.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

FOLDERS = ("positive", "negative")


def contents(source: Path) -> Iterator[bytes]:
    """Yield the bytes of every labelled photograph in a folder or a .zip."""
    if source.is_dir():
        for file in source.rglob("*"):
            if file.is_file() and file.parent.name.lower() in FOLDERS:
                yield file.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if not name.endswith("/") and PurePosixPath(name).parent.name.lower() in FOLDERS:
                yield archive.read(name)


def main(source: str) -> None:
    """Read everything; print the counts of images and of byte-identical copies as JSON."""
    digests, greys, unreadable = [], [], 0
    for content in contents(Path(source)):
        digest = hashlib.sha256(content).digest()
        try:
            greys.append(float(np.asarray(Image.open(io.BytesIO(content)).convert("L")).mean()))
        except OSError:
            unreadable += 1
        else:
            digests.append(digest)
    found = {"images": len(digests), "copies": len(digests) - len(set(digests))}
    print(json.dumps({**found, "unreadable": unreadable, "mean_grey": float(np.mean(greys))}))


if __name__ == "__main__":
    main(sys.argv[1])
