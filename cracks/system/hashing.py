"""SHA-256 digests of files, folders and values: the identity of data and bundles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of_file(path: Path) -> str:
    """Return the MD5 of a file, by which DVC and S3 know it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def digest_of_values(values: Iterable[Any]) -> str:
    """Return the SHA-256 of many JSON values in their order, none of them kept in memory."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(digest_of_value(value).encode())
    return digest.hexdigest()


def digest_of_value(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    return digest_of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
