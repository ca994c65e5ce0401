"""Places in a bucket, and the objects there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cracks.errors import StorageError
from cracks.system.hashing import digest_of_value

SCHEME = "s3://"

#: The folder in a mirror that holds its index and what is on its way.
OWN_FOLDER = ".mirror"

#: Bytes that a file system takes for one name.
LONGEST_NAME = 255


@dataclass(frozen=True)
class Address:
    """A place in a bucket; `prefix` is a folder, with or without a last slash, or one object."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    @property
    def folder(self) -> str:
        """What the keys in the folder begin with."""
        return f"{self.prefix.rstrip('/')}/" if self.prefix else ""


@dataclass(frozen=True)
class StoredObject:
    """One object: its key below the address, its size and ETag, and its whole key."""

    key: str
    size: int
    etag: str
    full_key: str


def is_in_bucket(place: str | Path) -> bool:
    """Return whether a place is an address of objects."""
    return str(place).startswith(SCHEME)


def parse_address(text: str) -> Address:
    """Take `s3://bucket/prefix` apart; the prefix may be empty.

    Raises:
        StorageError: it is no such address.
    """
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if not text.startswith(SCHEME) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise StorageError(
            f"{text!r} is no address of objects. Write s3://BUCKET/PREFIX, for example "
            "s3://inspections/photographs; names of buckets are 3 to 63 of a-z, 0-9, `-` and `.`."
        )
    if prefix and {"", ".", ".."} & set(prefix.removesuffix("/").split("/")):
        raise StorageError(
            f"{text!r}: the prefix has an empty, `.` or `..` segment. Write it as "
            "s3://BUCKET/FOLDER/FOLDER."
        )
    return Address(bucket, prefix)


def digest_of_listing(objects: Iterable[StoredObject]) -> str:
    """Return 64 hexadecimal digits that change with any object's key, size or content."""
    return digest_of_value([(stored.key, stored.etag, stored.size) for stored in objects])


def require_file_names(objects: Sequence[StoredObject], address: Address) -> None:
    """Refuse keys that cannot be names of files in one folder.

    Raises:
        StorageError: one of them cannot.
    """
    keys = {stored.key for stored in objects}
    for key in sorted(keys):
        if not _is_safe(key):
            raise StorageError(
                f"{address} holds {key!r}, which cannot be the name of a local file. "
                "Rename that object; nothing was downloaded."
            )
        for folder in map(str, PurePosixPath(key).parents):
            if folder in keys:
                raise StorageError(
                    f"{address} holds {folder!r} both as an object and as a folder ({key!r}). "
                    "Rename one of them; nothing was downloaded."
                )


def _is_safe(key: str) -> bool:
    segments = key.split("/")
    return (
        not {"", ".", ".."} & set(segments)
        and not {"\\", "\0"} & set(key)
        and segments[0] != OWN_FOLDER
        and max(len(segment.encode()) for segment in segments) <= LONGEST_NAME
    )
