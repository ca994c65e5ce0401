"""Take photographs from where `ingest.source` points: a folder, an archive, or the drawn sample."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cracks.digests import digest_of_file, digest_of_value
from cracks.errors import SourceError
from cracks.labels import LABEL_OF_FOLDER, LABELS
from cracks.params import IngestParams
from cracks.sample import GENERATOR_VERSION, draw_sample, names_of_sample

#: Suffixes that say `archive` without opening the file.
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

LAYOUT = "Expected are the folders Positive/ (crack) and Negative/ (no crack)"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: its path inside it, its label, and its bytes."""

    path: str
    label: str
    content: bytes


class Source(ABC):
    """A place of labelled files, read in a fixed order."""

    @abstractmethod
    def paths(self) -> list[str]:
        """Return the path of every labelled file, in reading order."""

    @abstractmethod
    def digest(self) -> str:
        """Return 64 hexadecimal digits that change when the content changes."""

    @abstractmethod
    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of every labelled file, in the order of `paths`."""

    def files(self) -> Iterator[SourceFile]:
        """Yield every labelled file.

        Raises:
            SourceError: a file cannot be read.
        """
        for path, content in self.contents():
            yield SourceFile(path, _label(path) or "", content)


@contextmanager
def open_source(params: IngestParams, root: Path) -> Iterator[Source]:
    """Open `params.source`; a relative path is meant from `root`.

    Raises:
        SourceError: it does not exist, is damaged or unsafe, or lacks one of the labels.
    """
    if params.source == "sample":
        yield SampleSource(params.sample.patches, params.sample.seed)
        return
    path = root / os.path.expanduser(params.source)  # noqa: PTH111 (Path raises for ~nobody)
    with _open_path(path) as source:
        _require_both_labels(source.paths(), path)
        yield source


@contextmanager
def _open_path(path: Path) -> Iterator[Source]:
    if path.is_dir():
        yield FolderSource(path)
    elif not path.exists():
        raise SourceError(
            f"ingest.source: there is no {path}. Give a folder, a .zip or .tar.* archive, or "
            "`sample` (drawn photographs), for example `cracks train -S ingest.source=sample`."
        )
    elif path.name.lower().endswith(".zip"):
        with _open_zip(path) as archive:
            yield ZipSource(path, archive)
    elif path.name.lower().endswith(TAR_SUFFIXES):
        with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
            _extract_tar(path, Path(folder))
            yield FolderSource(Path(folder), archive=path)
    else:
        raise SourceError(
            f"ingest.source: {path} is neither a folder nor a .zip or .tar.* archive."
        )


class SampleSource(Source):
    """Photographs that the embedded generator draws."""

    def __init__(self, patches: int, seed: int) -> None:
        self._patches, self._seed = patches, seed

    def paths(self) -> list[str]:
        """Return the names that the generator gives."""
        return names_of_sample(self._patches)

    def digest(self) -> str:
        """Return a digest of what decides the drawing."""
        return digest_of_value(["sample", GENERATOR_VERSION, self._patches, self._seed])

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Draw the files one after the other."""
        yield from draw_sample(self._patches, self._seed, processes=os.cpu_count() or 1)


class FolderSource(Source):
    """A folder that holds Positive/ and Negative/ at any depth."""

    def __init__(self, folder: Path, archive: Path | None = None) -> None:
        """Read `folder`, which may have been unpacked from `archive`."""
        self._folder, self._archive = folder, archive
        found = (
            file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
        )
        self._paths = sorted(path for path in found if _label(path))

    def paths(self) -> list[str]:
        """Return the labelled files, sorted."""
        return self._paths

    def digest(self) -> str:
        """Return the SHA-256 of the archive, or a digest over every file's path and content."""
        if self._archive:
            return digest_of_file(self._archive)
        return digest_of_value(
            [(path, digest_of_file(self._folder / path)) for path in self._paths]
        )

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Read the files one after the other."""
        for path in self._paths:
            try:
                yield path, (self._folder / path).read_bytes()
            except OSError as error:
                raise SourceError(
                    f"{self._folder / path} cannot be read: {error.strerror}."
                ) from None


class ZipSource(Source):
    """A .zip archive, read member by member without unpacking it."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        names = [member.filename for member in archive.infolist() if not member.is_dir()]
        _refuse_unsafe(names, path)
        self._paths = sorted(name for name in names if _label(name))

    def paths(self) -> list[str]:
        """Return the labelled members, sorted."""
        return self._paths

    def digest(self) -> str:
        """Return the SHA-256 of the archive."""
        return digest_of_file(self._path)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Read the members one after the other; each is checked against its CRC."""
        for path in self._paths:
            try:
                yield path, self._archive.read(path)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
                raise _damaged(self._path, f"{path}: {error}") from None


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, str(error)) from None
    with archive:
        yield archive


def _extract_tar(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            _require_whole(archive)
            _refuse_unsafe([member.name for member in members], path)
            # Links and devices are no photographs; leaving them out leaves nothing to escape with.
            files = [member for member in members if member.isfile() and _label(member.name)]
            archive.extractall(folder, members=files, filter="data")
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise _damaged(path, str(error)) from None


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


def _damaged(path: Path, reason: str) -> SourceError:
    reason = " ".join(reason.split())
    return SourceError(
        f"ingest.source: the archive {path} is damaged or cut short ({reason}). Fetch it again."
    )


def _refuse_unsafe(names: list[str], path: Path) -> None:
    for name in names:
        posix = name.replace("\\", "/")
        if posix.startswith("/") or re.match(r"[A-Za-z]:", posix) or ".." in posix.split("/"):
            raise SourceError(
                f"ingest.source: the archive {path} holds {name!r}, which points outside of it. "
                "It is refused as a whole; nothing was read."
            )


def _label(path: str) -> str | None:
    parts = PurePosixPath(path).parts
    if parts[-1].startswith(".") or "__MACOSX" in parts:
        return None  # what file managers leave behind is no photograph
    return LABEL_OF_FOLDER.get(PurePosixPath(path).parent.name.lower())


def _require_both_labels(paths: list[str], source: Path) -> None:
    found = {_label(path) for path in paths}
    missing = [label for label in LABELS if label not in found]
    if missing:
        names = " and ".join(f"`{label}`" for label in missing)
        raise SourceError(f"ingest.source: {source} holds no photograph of {names}. {LAYOUT}.")
