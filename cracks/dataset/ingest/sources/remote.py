"""Photographs that must be fetched first: the reference data set, and prefixes in S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cracks.dataset.ingest.sources.archive_safety import is_archive
from cracks.dataset.ingest.sources.base import Source, labelled, wanted
from cracks.dataset.ingest.sources.local import FolderSource, open_path
from cracks.dataset.ingest.sources.mendeley import fetch_dataset
from cracks.storage.addresses import Address, digest_of_listing, parse_address
from cracks.storage.client import list_objects
from cracks.storage.mirrors import mirror


@contextmanager
def open_mendeley(raw: Path) -> Iterator[Source]:
    """Open the reference data set; its archive is kept in `raw`, where DVC versions it.

    Raises:
        SourceError: it cannot be had.
        SourceUnavailable: the server does not answer.
    """
    dataset = fetch_dataset(raw)
    with open_path(raw / dataset.archive, "mendeley") as source:
        source.described_files = dataset.described_files()
        yield source


class BucketSource(Source):
    """The photographs below a prefix; they are fetched when they are read."""

    def __init__(self, name: str, address: Address, folder: Path) -> None:
        """Read what lies at `address`, through a mirror in `folder`."""
        super().__init__(name)
        self._address, self._folder = address, folder
        self._objects = [one for one in list_objects(address) if wanted(one.key)]

    def paths(self) -> list[str]:
        """Return the keys below the prefix, sorted."""
        return [one.key for one in self._objects if labelled(one.key)]

    def digest(self) -> str:
        """Return a digest of every key, size and ETag; nothing is fetched for it."""
        return digest_of_listing(self._objects)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Bring the mirror up to date, then read it."""
        # The bucket may have changed since it was listed; what counts is what was read.
        self._objects = list(mirror(self._address, self._folder, wanted).objects)
        yield from FolderSource(self.name, self._folder).contents()

    def photo_tables(self) -> dict[str, bytes]:
        """Read the tables of the mirror."""
        return FolderSource(self.name, self._folder).photo_tables()


@contextmanager
def open_s3(text: str, mirrors: Path) -> Iterator[Source]:
    """Open an address `s3://bucket/prefix`, or that of one archive.

    Raises:
        StorageError: the bucket does not exist or refuses, or the address is none.
        StorageUnavailable: the storage does not answer.
        SourceError: the archive is damaged or unsafe.
    """
    address = parse_address(text)
    folder = mirrors / address.bucket / (address.prefix.rstrip("/") or "_")
    if not is_archive(address.prefix):
        yield BucketSource(text, address, folder)
        return
    mirror(address, folder, lambda _: True)
    with open_path(folder / PurePosixPath(address.prefix).name, text) as source:
        yield source
