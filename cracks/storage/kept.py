"""Where monitoring keeps its files: below the record of answers, in a folder or in a bucket."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from cracks.errors import ServiceError
from cracks.monitoring.prediction_log.locations import is_in_bucket, place_of_log
from cracks.storage.addresses import parse_address
from cracks.storage.folders import ObjectFolder
from cracks.system.atomic_files import atomic_replace


class KeptFiles(Protocol):
    """Small files below a place; names have slashes between folders."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files below a folder, sorted; none where there is no folder."""

    def read(self, name: str) -> bytes:
        """Return a file's content; FileNotFoundError where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""


def place_beside_predictions(service: Path, folder: str) -> str:
    """Return the place of a folder below the record of answers of a service.

    It follows the record: into a bucket where CRACKS_SERVE_ANSWERS names one.
    """
    return below(place_of_log(service), folder)


def below(place: str | Path, folder: str) -> str:
    """Return the place of a folder below another place."""
    return f"{str(place).rstrip('/')}/{folder}"


def kept_files(place: str | Path) -> KeptFiles:
    """Return the files below a place.

    Raises:
        ServiceError: the place is in a bucket, and boto3 is not installed.
        SourceError: the address of the bucket is none.
    """
    if not is_in_bucket(place):
        return FilesInFolder(Path(place))
    if find_spec("boto3") is None:
        raise ServiceError(
            f"{place} is in a bucket, but boto3 is not installed here. Install the group "
            "serving-s3 (`uv sync --group serving-s3`)."
        )
    return FilesInBucket(str(place))


class FilesInFolder:
    """Files in a local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, folder: str) -> list[str]:
        """Return the names of the files below a folder, sorted."""
        found = (self._folder / folder).rglob("*")
        return sorted(
            path.relative_to(self._folder).as_posix()
            for path in found
            if not path.name.startswith(".") and path.is_file()
        )

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        with atomic_replace(self._folder / name) as partial:
            partial.write_bytes(content)


class FilesInBucket:
    """Objects below an address."""

    def __init__(self, place: str) -> None:
        self._objects = ObjectFolder(parse_address(place))

    def names(self, folder: str) -> list[str]:
        """Return the keys below a folder, sorted."""
        return self._objects.keys(f"{folder.rstrip('/')}/" if folder else "")

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        return self._objects.read(name)

    def write(self, name: str, content: bytes) -> None:
        """Store an object."""
        self._objects.write(name, content)
