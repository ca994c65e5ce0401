"""ETags: which of them are checksums, and of what."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

from cracks.system.hashing import md5_of_file

MEBIBYTE = 1 << 20

#: Sizes of parts that clients upload with, in MiB; the ETag of an upload in parts depends on it.
PART_SIZES = (8, 5, 16, 15, 10, 20, 25, 32, 50, 64, 100, 128, 256, 512)


def has_etag(path: Path, etag: str) -> bool:
    """Return whether a file has this ETag, as far as one can be computed."""
    if is_md5(etag):
        return md5_of_file(path) == etag
    in_parts = re.fullmatch(r"[0-9a-f]{32}-([0-9]+)", etag)
    if not in_parts:
        return False
    sizes = possible_part_sizes(path.stat().st_size, int(in_parts[1]))
    return any(etag_in_parts(path, size) == etag for size in sizes)


def is_md5(etag: str) -> bool:
    """Return whether an ETag looks like the MD5 of the whole object."""
    return re.fullmatch(r"[0-9a-f]{32}", etag) is not None


def possible_part_sizes(size: int, count: int) -> list[int]:
    """Return the sizes of parts, the likely first, that cut `size` bytes into `count` parts."""
    # Clients that are near the limit of parts take the smallest size that will do.
    smallest = math.ceil(size / max(count, 1) / MEBIBYTE)
    sizes = [mebibytes * MEBIBYTE for mebibytes in (*PART_SIZES, max(smallest, 1))]
    return [part for part in dict.fromkeys(sizes) if max(math.ceil(size / part), 1) == count]


def etag_in_parts(path: Path, part_size: int) -> str:
    """Return the ETag that an upload in parts of this size gets: the MD5 of the parts' MD5s."""
    parts = []
    with path.open("rb") as file:
        while part := file.read(part_size):
            parts.append(hashlib.md5(part, usedforsecurity=False).digest())
    whole = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return f"{whole}-{len(parts)}"
