"""Where a record is: in a folder, or in a bucket with a folder on the way to it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Protocol

from cracks.errors import ServiceError
from cracks.monitoring.prediction_log.part_files import DAY, Part, PartFolder, parse_part
from cracks.storage.addresses import SCHEME, parse_address
from cracks.storage.folders import ObjectFolder

#: Variable of the environment: the place, if it is not answers/ in the service folder.
PLACE_VARIABLE = "CRACKS_SERVE_ANSWERS"
FOLDER = "answers"


def place_of_log(service: Path) -> str:
    """Return the place where services of this service folder keep their answers."""
    return os.environ.get(PLACE_VARIABLE) or str(service / FOLDER)


def is_in_bucket(place: str | Path) -> bool:
    """Return whether a place is an address of objects."""
    return str(place).startswith(SCHEME)


def local_folder(place: str | Path, spool: Path | None) -> PartFolder:
    """Return where parts are written: the place, or the folder on the way to it."""
    if not is_in_bucket(place):
        return PartFolder(Path(place))
    if spool is None:
        raise ValueError(f"no spool for {place}")
    return PartFolder(spool)


class PartSource(Protocol):
    """Where parts can be read."""

    def days(self) -> list[str]:
        """Return the names of the folders of days, the oldest first."""

    def parts(self, day: str, hour: str = "") -> list[Part]:
        """Return the parts of a day, or of one hour of it; also those that count no more."""

    def open(self, part: Part) -> BinaryIO:
        """Return a part to be read, also if it is removed meanwhile."""


def sources(place: str | Path, spool: Path | None = None) -> list[PartSource]:
    """Return where the parts of a record can be read; what two of them have is the same.

    Raises:
        ServiceError: the place is in a bucket, and boto3 is not installed.
        SourceError: the address of the bucket is none.
    """
    if not is_in_bucket(place):
        return [PartFolder(Path(place))]
    return [*([PartFolder(spool)] if spool else []), PartBucket(str(place))]


class PartBucket:
    """The parts below an address of objects."""

    def __init__(self, place: str) -> None:
        if find_spec("boto3") is None:
            raise ServiceError(
                f"The record of answers is to be at {place}, but boto3 is not installed here. "
                "Install the group serving-s3 (`uv sync --group serving-s3`), or set "
                f"{PLACE_VARIABLE} to a folder."
            )
        self._objects = ObjectFolder(parse_address(place))

    def days(self) -> list[str]:
        """Return the names of the folders of days, the oldest first."""
        return [name for name in self._objects.folders() if re.fullmatch(DAY, name)]

    def parts(self, day: str, hour: str = "") -> list[Part]:
        """Return the parts of a day, or of one hour of it."""
        keys = self._objects.keys(f"{day}/{hour}")
        found = (parse_part(key.removeprefix(f"{day}/")) for key in keys)
        return [part for part in found if part is not None]

    def open(self, part: Part) -> BinaryIO:
        """Return a part to be read; it is downloaded when it is."""
        return _LateObject(lambda: self._objects.read(part.path))

    def upload(self, part: Part, content: bytes) -> None:
        """Store a part; to store it twice changes nothing."""
        self._objects.write(part.path, content)


class _LateObject(io.BytesIO):
    """The content of an object, fetched when it is first looked at."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self._fetch: Callable[[], bytes] | None = fetch

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if self._fetch:
            fetch, self._fetch = self._fetch, None
            self.write(fetch())
        return super().seek(offset, whence)
