"""Files in a folder or in a bucket, by their paths."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import override

from cracks.storage.addresses import SCHEME, Address, parse_address
from cracks.storage.client import connect, explaining, status_of
from cracks.system.atomic_files import atomic_replace


class BackupLocation(ABC):
    """Files by their paths, which have `/` between folders.

    Methods raise OSError of a folder; SourceError and SourceUnavailable of a bucket.
    """

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where it is, as a URI."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file; none if the place does not exist."""

    @abstractmethod
    def local(self, path: str) -> Any:
        """Return a context that has a local file with the content.

        Raises:
            FileNotFoundError: there is no such file, or not any more.
        """

    @abstractmethod
    def write(self, path: str, content: Path, *, private: bool = False) -> None:
        """Copy a local file there, whole or not at all; `private` lets its owner alone read it."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file."""


class Folder(BackupLocation):
    """A folder; what `wanted` refuses is as if it were not there."""

    def __init__(self, root: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
        self.root = root.resolve()
        self._wanted = wanted

    @property
    @override
    def origin(self) -> str:
        return self.root.as_uri()

    @override
    def sizes(self) -> dict[str, int]:
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if self._wanted(name) and path.is_file():
                try:
                    found[name] = path.stat().st_size
                except FileNotFoundError:
                    continue  # it was removed meanwhile
        return found

    @override
    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        if not (self.root / path).is_file():
            raise FileNotFoundError(self.root / path)
        yield self.root / path

    @override
    def write(self, path: str, content: Path, *, private: bool = False) -> None:
        with atomic_replace(self.root / path) as partial:
            partial.touch(0o600 if private else 0o666)
            shutil.copyfile(content, partial)

    @override
    def remove(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)


class Bucket(BackupLocation):
    """A prefix in a bucket."""

    def __init__(self, address: Address, endpoint_url: str | None = None) -> None:
        self.address = address
        self._endpoint_url = endpoint_url

    @cached_property
    def _client(self) -> Any:
        return connect(self._endpoint_url)

    @property
    @override
    def origin(self) -> str:
        return str(self.address).rstrip("/")

    @override
    def sizes(self) -> dict[str, int]:
        start = self.address.folder
        with explaining(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=start
            )
            return {
                entry["Key"][len(start) :]: entry["Size"]
                for page in pages
                for entry in page.get("Contents", [])
                if not entry["Key"].endswith("/")
            }

    @override
    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="cracks-backup-") as folder:
            file = Path(folder) / "object"
            self._fetch(path, file)
            yield file

    def _fetch(self, path: str, file: Path) -> None:
        from botocore.exceptions import ClientError

        key = self.address.folder + path
        with explaining(self.address):
            try:
                self._client.download_file(self.address.bucket, key, str(file))
                return
            except ClientError as error:
                if status_of(error) != 404:
                    raise
        raise FileNotFoundError(f"{self.origin}/{path}")

    @override
    def write(self, path: str, content: Path, *, private: bool = False) -> None:
        from boto3.exceptions import S3UploadFailedError

        key = self.address.folder + path
        with explaining(self.address):
            try:
                self._client.upload_file(str(content), self.address.bucket, key)
            except S3UploadFailedError as error:
                # boto3 hides what the storage has said, which `explaining` knows.
                raise (error.__context__ or error) from None

    @override
    def remove(self, path: str) -> None:
        key = self.address.folder + path
        with explaining(self.address):
            self._client.delete_object(Bucket=self.address.bucket, Key=key)


def place_at(text: str, endpoint_url: str | None = None) -> BackupLocation:
    """Return the place that `s3://bucket/prefix`, or the path of a folder, names.

    Raises:
        SourceError: it is no such address.
    """
    if text.startswith(SCHEME):
        return Bucket(parse_address(text), endpoint_url)
    return Folder(Path(text))
