"""Photographs in a folder or an archive on this machine."""

from __future__ import annotations

import lzma
import tarfile
import tempfile
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from cracks.dataset.ingest.sources.archive_safety import (
    TAR_SUFFIXES,
    damaged,
    is_archive,
    refuse_unsafe,
)
from cracks.dataset.ingest.sources.base import Source, is_photo_table, labelled, wanted
from cracks.errors import SourceError
from cracks.system.hashing import digest_of_file, digest_of_values

#: What Python's zipfile raises for damaged archives; ValueError for names that are no text.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


@contextmanager
def open_path(path: Path, name: str) -> Iterator[Source]:
    """Open a folder or an archive; archives that must be unpacked go to a temporary folder.

    Raises:
        SourceError: it does not exist, is damaged or unsafe, or is no archive.
    """
    suffix = path.name.lower()
    if path.is_dir():
        yield FolderSource(name, path)
    elif not path.exists():
        raise SourceError(
            f"ingest.source: there is no {path}. Give a folder, a .zip, .rar or .tar.* archive, "
            "s3://bucket/prefix, `mendeley` or `sample` (drawn photographs), for example "
            "`cracks train -S ingest.source=sample`."
        )
    elif suffix.endswith(".zip"):
        with _open_zip(path) as archive:
            yield ZipSource(name, path, archive)
    elif is_archive(suffix):
        extract = _extract_tar if suffix.endswith(TAR_SUFFIXES) else _extract_rar
        with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
            yield PackedSource(name, path, Path(folder), extract)
    else:
        raise SourceError(
            f"ingest.source: {path} is neither a folder nor a .zip, .rar or .tar.* archive."
        )


class StoredSource(Source):
    """Files on this machine, each of which is read by its path."""

    @property
    @abstractmethod
    def _wanted(self) -> list[str]:
        """Return the path of every file that is needed, sorted."""

    @abstractmethod
    def _read(self, path: str) -> bytes:
        """Return a file; raise SourceError where it cannot be read."""

    def paths(self) -> list[str]:
        """Return the labelled files, sorted."""
        return [path for path in self._wanted if labelled(path)]

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Read the files one after the other."""
        return ((path, self._read(path)) for path in self.paths())

    def photo_tables(self) -> dict[str, bytes]:
        """Read the tables."""
        return {path: self._read(path) for path in self._wanted if is_photo_table(path)}


class FolderSource(StoredSource):
    """A folder that holds Positive/ and Negative/ at any depth."""

    def __init__(self, name: str, folder: Path) -> None:
        """Read `folder`."""
        super().__init__(name)
        self._folder = folder

    @cached_property
    def _wanted(self) -> list[str]:
        files = (file for file in self._folder.rglob("*") if file.is_file())
        found = (file.relative_to(self._folder).as_posix() for file in files)
        return sorted(path for path in found if wanted(path))

    def digest(self) -> str:
        """Return a digest over every file's path and content."""
        return digest_of_values(
            (path, digest_of_file(self._folder / path)) for path in self._wanted
        )

    def _read(self, path: str) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except OSError as error:
            raise SourceError(f"{self._folder / path} cannot be read: {error.strerror}.") from None


class PackedSource(FolderSource):
    """An archive that must be unpacked as a whole; that is done when its files are listed."""

    def __init__(
        self, name: str, path: Path, folder: Path, extract: Callable[[Path, Path], None]
    ) -> None:
        """Read the archive at `path`, unpacked by `extract` to the empty `folder`."""
        super().__init__(name, folder)
        self._archive, self._extract = path, extract

    @cached_property
    def _wanted(self) -> list[str]:
        self._extract(self._archive, self._folder)
        return super()._wanted

    def digest(self) -> str:
        """Return the SHA-256 of the archive, which need not be unpacked for it."""
        return digest_of_file(self._archive)


class ZipSource(StoredSource):
    """A .zip archive, read member by member without unpacking it."""

    def __init__(self, name: str, path: Path, archive: zipfile.ZipFile) -> None:
        """Read the open `archive` at `path`."""
        super().__init__(name)
        self._path, self._archive = path, archive
        found = (member.filename for member in archive.infolist())
        names = [name for name in found if not name.endswith("/")]
        refuse_unsafe(names, path)
        self._members = sorted(name for name in names if wanted(name))

    @property
    def _wanted(self) -> list[str]:
        return self._members

    def digest(self) -> str:
        """Return the SHA-256 of the archive."""
        return digest_of_file(self._path)

    def _read(self, path: str) -> bytes:
        try:  # which compares the member with its CRC
            return self._archive.read(path)
        except ZIP_ERRORS as error:
            raise damaged(self._path, f"{path}: {error}") from None


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise damaged(path, str(error)) from None
    with archive:
        yield archive


def _extract_tar(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            _require_whole(archive)
            refuse_unsafe([member.name for member in members], path)
            # Links and devices are no photographs; leaving them out leaves nothing to escape with.
            files = [member for member in members if member.isfile() and wanted(member.name)]
            archive.extractall(folder, members=files, filter="data")
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise damaged(path, str(error)) from None


def _require_whole(archive: tarfile.TarFile) -> None:
    """Refuse a tar without its end mark; reading to the end compares the checksum of gzip and xz.

    Python's tarfile takes a cut between two members for the end, and never reads what follows.
    """
    file = archive.fileobj
    assert file
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the end of the archive is missing")
    while file.read(1 << 20):
        pass


def _extract_rar(path: Path, folder: Path) -> None:
    # rarfile, which this imports, takes half a second to import.
    from cracks.dataset.ingest.sources.rar import extract_rar

    extract_rar(path, folder, wanted)
