"""Through libarchive, which reads what is neither solid (in RAR 4) nor in several parts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from cracks.dataset.ingest.sources.archive_safety import refuse_unsafe
from cracks.dataset.ingest.sources.rar.headers import Survey, Unreadable
from cracks.dataset.ingest.sources.rar.jobs import Job, require_all
from cracks.system.console import progress

#: Bytes to read at a time.
BLOCK = 1 << 14


def reads(survey: Survey) -> bool:
    """Return whether libarchive can be tried."""
    return not survey.is_part and not (survey.format == "rar" and survey.is_solid)


def is_installed() -> bool:
    """Return whether both the package and the system's library are there."""
    try:
        import libarchive  # type: ignore[import-untyped] # noqa: F401
    except (ImportError, AttributeError, OSError):
        # Without the system's library, the names that it should have are looked up in vain.
        return False
    return True


def unpack(job: Job) -> None:
    """Write the wanted files.

    Raises:
        SourceError: a member is unsafe, ambiguous, or only a reference.
        Unreadable: libarchive cannot read it, or not to its end.
    """
    total, count = len(job.survey.checksums), 0
    with _entries(job) as entries, progress(total, "Unpacking", "files") as advance:
        checksums = iter(job.survey.checksums)
        for entry in entries:
            _take(entry, next(checksums, None), job)
            advance(1)
            count += 1
    require_all(count, total)


@contextmanager
def _entries(job: Job) -> Iterator[Iterable[Any]]:
    import libarchive

    try:
        # libarchive cannot open every path by its name, but every file that is open.
        with (
            job.path.open("rb") as file,
            libarchive.fd_reader(file.fileno(), job.survey.format, "none") as archive,
        ):
            yield archive
    except libarchive.ArchiveError as error:
        raise Unreadable(error.msg) from None


def _take(entry: Any, checksum: int | None, job: Job) -> None:
    name = entry.pathname
    if not isinstance(name, str):
        raise Unreadable(f"the name {name!r} is no text")
    refuse_unsafe([name], job.path)
    if not entry.isreg or entry.islnk or not job.wanted(name):
        return
    size, found = _write(entry.get_blocks(BLOCK), name, job)
    if entry.size is None and not size:
        raise job.only_referred_to(name)
    if entry.size not in (None, size):
        raise Unreadable(f"{name}: {size:,} of {entry.size:,} bytes")
    if checksum not in (None, found):
        raise Unreadable(f"{name}: wrong checksum")


def _write(blocks: Iterator[bytes], name: str, job: Job) -> tuple[int, int]:
    """Return the size and the CRC32 of what was written."""
    size = checksum = 0
    with _created(name, job) as file:
        for block in blocks:
            size += file.write(block)
            checksum = zlib.crc32(block, checksum)
    return size, checksum


def _created(name: str, job: Job) -> BinaryIO:
    place = job.folder / name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise job.ambiguous(name) from None
    except UnicodeEncodeError:
        raise Unreadable(f"the name {name!r} is no text") from None
