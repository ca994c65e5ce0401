"""Unpack .rar archives: through libarchive, and where that cannot, through unar.

Neither is strict. libarchive compares no checksum of members that are stored uncompressed, as
photographs often are; both take a cut between two members, or a missing part, for the end. So the
headers are walked first, which is quick, and what comes out is compared with what they announce.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cracks.errors import SourceError
from cracks.progress import Advance, progress

#: Says which members to write, by their names.
Wanted = Callable[[str], bool]

#: Raises SourceError where one of the names of an archive points outside of it.
RefuseUnsafe = Callable[[list[str], Path], None]

#: First bytes, by the name that libarchive gives to the format.
SIGNATURES = {"rar5": b"Rar!\x1a\x07\x01\x00", "rar": b"Rar!\x1a\x07\x00"}

#: Bytes in the longest header that the format allows.
LONGEST_HEADER = 1 << 21

#: Bytes to read at a time.
BLOCK = 1 << 14

BY_HAND = "Or unpack it by hand and point ingest.source to the folder."


class _Unreadable(Exception):
    """The reason, in a few words, why a way to read an archive failed."""


@dataclass
class _Survey:
    """What the headers of one archive, or of one part of it, say."""

    format: str
    #: The CRC32 of every member that begins here; None where a header gives none.
    checksums: list[int | None] = field(default_factory=list)
    is_encrypted: bool = False
    is_solid: bool = False
    is_part: bool = False
    part: int = 0
    has_next_part: bool = False


@dataclass(frozen=True)
class _Job:
    path: Path
    folder: Path
    survey: _Survey
    wanted: Wanted
    refuse_unsafe: RefuseUnsafe


def extract_rar(path: Path, folder: Path, wanted: Wanted, refuse_unsafe: RefuseUnsafe) -> None:
    """Write the wanted files of an archive below an empty folder, and nothing elsewhere.

    Links and devices are left out, whatever their names. After a refusal the folder may hold files.

    Raises:
        SourceError: the archive is damaged, cut short, encrypted or unsafe, or no tool reads it.
    """
    try:
        job = _Job(path, folder, _survey(path), wanted, refuse_unsafe)
        if job.survey.is_encrypted:
            raise SourceError(
                f"ingest.source: the archive {path} is encrypted. Unpack it by hand with its "
                "password and point ingest.source to the folder."
            )
        _unpack(job)
    except _Unreadable as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise SourceError(
            f"ingest.source: the archive {path} cannot be unpacked to {folder}: {error.strerror}. "
            "Let it be read, or make room there (TMPDIR names another place)."
        ) from None


def _unpack(job: _Job) -> None:
    ways = [way for way in (_libarchive_way(job), _unar_way()) if way]
    if not ways:
        raise _no_tool(job)
    failures = []
    for way in ways:
        try:
            way(job)
            return
        except _Unreadable as error:
            failures.append(error)
            _empty(job.folder)
    if _through_unar in ways:
        raise failures[0]
    raise _damaged(
        job.path,
        failures[0],
        "Fetch it again. If that changes nothing, `apt-get install unar`: it reads some that "
        "libarchive cannot.",
    )


def _no_tool(job: _Job) -> SourceError:
    if not _libarchive_reads(job.survey):
        kind = "is one of several parts" if job.survey.is_part else "is a solid archive of RAR 4"
        return SourceError(
            f"ingest.source: {job.path} {kind}, which only unar reads: `apt-get install unar`. "
            f"{BY_HAND}"
        )
    return SourceError(
        f"ingest.source: reading {job.path} needs libarchive: `apt-get install libarchive13` "
        f"(or unar). {BY_HAND}"
    )


def _damaged(path: Path, reason: object, remedy: str = "Fetch it again.") -> SourceError:
    text = " ".join(str(reason).split())
    return SourceError(
        f"ingest.source: the archive {path} is damaged or cut short ({text}). {remedy}"
    )


def _ambiguous(path: Path, name: str) -> SourceError:
    return SourceError(
        f"ingest.source: the archive {path} holds {name!r} twice, or as a file and as a folder. "
        "Unpack it by hand, keep the one that is meant, and point ingest.source to the folder."
    )


def _only_referred_to(path: Path, name: str) -> SourceError:
    return SourceError(
        f"ingest.source: the archive {path} holds {name!r} only as a reference to an equal file. "
        "Unpack it by hand with WinRAR or unrar and point ingest.source to the folder."
    )


def _is_wanted(name: str, job: _Job) -> bool:
    is_a_name = bool(PurePosixPath(name).parts)
    return is_a_name and job.wanted(name)


def _require_all(count: int, announced: int) -> None:
    if count != announced:
        raise _Unreadable(f"{count:,} of {announced:,} members")


def _counted(total: int) -> AbstractContextManager[Advance]:
    return progress(total, "Unpacking", "files")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


# --- libarchive -----------------------------------------------------------------------------------


def _libarchive_reads(survey: _Survey) -> bool:
    return not survey.is_part and not (survey.format == "rar" and survey.is_solid)


def _libarchive_way(job: _Job) -> Callable[[_Job], None] | None:
    if not _libarchive_reads(job.survey):
        return None
    try:
        import libarchive  # type: ignore[import-untyped]
    except (ImportError, AttributeError, OSError):
        # Without the system's library, the names that it should have are looked up in vain.
        return None
    return partial(_through_libarchive, libarchive)


def _through_libarchive(libarchive: Any, job: _Job) -> None:
    count = 0
    with _entries(libarchive, job) as entries, _counted(len(job.survey.checksums)) as advance:
        checksums = iter(job.survey.checksums)
        for entry in entries:
            _take(entry, next(checksums, None), job)
            advance(1)
            count += 1
    _require_all(count, len(job.survey.checksums))


@contextmanager
def _entries(libarchive: Any, job: _Job) -> Iterator[Iterator[Any]]:
    try:
        # libarchive cannot open every path by its name, but every file that is open.
        with (
            job.path.open("rb") as file,
            libarchive.fd_reader(file.fileno(), job.survey.format, "none") as archive,
        ):
            yield iter(archive)
    except libarchive.ArchiveError as error:
        raise _Unreadable(error.msg) from None


def _take(entry: Any, checksum: int | None, job: _Job) -> None:
    name = entry.pathname
    if not isinstance(name, str):
        raise _Unreadable(f"the name {name!r} is no text")
    job.refuse_unsafe([name], job.path)
    if not entry.isreg or entry.islnk or not _is_wanted(name, job):
        return
    size, found = _write(entry.get_blocks(BLOCK), name, job)
    if entry.size is None and not size:
        raise _only_referred_to(job.path, name)
    if entry.size not in (None, size):
        raise _Unreadable(f"{name}: {size:,} of {entry.size:,} bytes")
    if checksum not in (None, found):
        raise _Unreadable(f"{name}: wrong checksum")


def _write(blocks: Iterator[bytes], name: str, job: _Job) -> tuple[int, int]:
    """Return the size and the CRC32 of what was written."""
    size = checksum = 0
    with _created(name, job) as file:
        for block in blocks:
            size += file.write(block)
            checksum = zlib.crc32(block, checksum)
    return size, checksum


def _created(name: str, job: _Job) -> BinaryIO:
    place = job.folder / name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise _ambiguous(job.path, name) from None
    except UnicodeEncodeError:
        raise _Unreadable(f"the name {name!r} is no text") from None


# --- unar -----------------------------------------------------------------------------------------


def _unar_way() -> Callable[[_Job], None] | None:
    return _through_unar if shutil.which("unar") and shutil.which("lsar") else None


def _through_unar(job: _Job) -> None:
    with _named_alone(job) as archive:
        members = _listed(archive, job)
        job.refuse_unsafe([member["XADFileName"] for member in members], job.path)
        chosen = [member for member in members if _is_chosen(member, job)]
        _require_different(chosen, job)
        if chosen:
            _run_unar(archive, chosen, job)
    for member in chosen:
        _require_written(member, job)


@contextmanager
def _named_alone(job: _Job) -> Iterator[Path]:
    """Yield a path of the archive that has no neighbours.

    unar takes neighbours whose names differ in a number for further parts, whatever they hold.
    """
    if job.survey.is_part:
        yield job.path.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        alone = Path(folder) / "archive.rar"
        alone.symlink_to(job.path.absolute())
        yield alone


def _listed(archive: Path, job: _Job) -> list[dict[str, Any]]:
    listing = subprocess.run(
        ["lsar", "-json", archive],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(),
        check=False,
    )
    try:
        content = json.loads(listing.stdout)
        announced = _announced(content["lsarProperties"]["XADVolumes"], job)
    except (ValueError, KeyError):
        raise _Unreadable("it cannot be listed") from None
    if "lsarError" in content:
        raise _Unreadable("it cannot be listed to its end")
    members: list[dict[str, Any]] = content["lsarContents"]
    _require_all(len(members), announced)
    return members


def _announced(parts: list[str], job: _Job) -> int:
    """Return how many members the headers of all parts announce.

    Raises:
        _Unreadable: a part is missing, which unar does not mind.
    """
    if not job.survey.is_part:
        return len(job.survey.checksums)
    surveys = [_survey(Path(part)) for part in parts]
    for number, survey in enumerate(surveys):
        if survey.part != number:
            raise _Unreadable(f"part {number + 1} is missing")
    if surveys[-1].has_next_part:
        raise _Unreadable(f"part {len(surveys) + 1} is missing")
    return sum(len(survey.checksums) for survey in surveys)


def _is_chosen(member: dict[str, Any], job: _Job) -> bool:
    name, mode = member["XADFileName"], member.get("XADPosixPermissions", 0)
    if member.get("XADIsDirectory") or not _is_wanted(name, job):
        return False
    if member.get("RAR5RedirectionType") == 5:
        raise _only_referred_to(job.path, name)
    return not member.get("XADIsLink") and mode & 0o170000 in (0, 0o100000)


def _require_different(members: list[dict[str, Any]], job: _Job) -> None:
    seen = set()
    for name in (member["XADFileName"] for member in members):
        if PurePosixPath(name) in seen:
            raise _ambiguous(job.path, name)
        seen.add(PurePosixPath(name))


def _run_unar(archive: Path, members: list[dict[str, Any]], job: _Job) -> None:
    # Only what is chosen is unpacked, so that there is no link to follow.
    indexes = [str(member["XADIndex"]) for member in members]
    options = ["-no-directory", "-force-overwrite", "-output-directory", str(job.folder)]
    with (
        subprocess.Popen(
            ["unar", *options, "-indexes", str(archive), *indexes],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            encoding="utf-8",
            errors="replace",
        ) as process,
        _counted(len(members)) as advance,
    ):
        assert process.stdout
        failed = ""
        for line in process.stdout:
            advance(line.rstrip().endswith("OK."))
            failed = failed or (line if "Failed!" in line else "")
    if process.returncode:
        raise _Unreadable(failed or "unar failed")


def _require_written(member: dict[str, Any], job: _Job) -> None:
    name = member["XADFileName"]
    place = job.folder / name
    if not place.is_file() or place.stat().st_size != member["XADFileSize"]:
        raise _Unreadable(f"{name}: not unpacked")


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}


# --- headers --------------------------------------------------------------------------------------


def _survey(path: Path) -> _Survey:
    with path.open("rb") as file:
        start = file.read(8)
        for name, signature in SIGNATURES.items():
            if start.startswith(signature):
                file.seek(len(signature))
                survey = _Survey(name)
                walk = _walk_rar5 if name == "rar5" else _walk_rar4
                try:
                    walk(file, survey)
                except struct.error:
                    raise _Unreadable("a header is too short") from None
                return survey
    raise _Unreadable("it is no .rar archive")


def _walk_rar5(file: BinaryIO, survey: _Survey) -> None:
    """Fill in a survey; the end mark must be there unless the headers are encrypted."""
    kind = 0
    while kind != 5 and not survey.is_encrypted:
        header = io.BytesIO(_header_rar5(file))
        kind, flags = _number(header), _number(header)
        extra = _number(header) if flags & 1 else 0
        data = _number(header) if flags & 2 else 0
        if kind == 1:
            _note_main_rar5(header, survey)
        elif kind == 2:
            if not flags & 8:
                survey.checksums.append(_checksum_rar5(header))
            survey.is_encrypted = 1 in _records(header.getvalue()[-extra:] if extra else b"")
        elif kind == 4:
            survey.is_encrypted = True
        elif kind == 5:
            survey.has_next_part = bool(_number(header) & 1)
        _skip(file, data)


def _header_rar5(file: BinaryIO) -> bytes:
    start = file.read(4)
    place = file.tell()
    size = _number(file)
    before = file.tell() - place
    if size > LONGEST_HEADER:
        raise _Unreadable("a header is damaged")
    file.seek(place)
    header = file.read(before + size)
    if struct.pack("<I", zlib.crc32(header)) != start:
        raise _Unreadable("a header is damaged")
    return header[before:]


def _note_main_rar5(header: io.BytesIO, survey: _Survey) -> None:
    flags = _number(header)
    survey.is_part, survey.is_solid = bool(flags & 1), bool(flags & 4)
    survey.part = _number(header) if flags & 2 else 0


def _checksum_rar5(header: io.BytesIO) -> int | None:
    flags, _size, _attributes = _number(header), _number(header), _number(header)
    if flags & 2:
        header.seek(4, os.SEEK_CUR)  # when it was changed
    return struct.unpack("<I", header.read(4))[0] if flags & 4 else None


def _records(extra: bytes) -> Iterator[int]:
    """Yield the kinds of the records in the extra area of a header."""
    area = io.BytesIO(extra)
    while area.tell() < len(extra):
        size = _number(area)
        after = area.tell() + size
        yield _number(area)
        area.seek(min(after, len(extra)))


def _number(file: BinaryIO) -> int:
    """Read a number: seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise _Unreadable("the end of the archive is missing")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise _Unreadable("a header is damaged")


def _walk_rar4(file: BinaryIO, survey: _Survey) -> None:
    """Fill in a survey; the end mark must be there unless the headers are encrypted."""
    kind = 0
    while kind != 0x7B and not survey.is_encrypted:
        kind, flags, fields = _header_rar4(file)
        data = struct.unpack_from("<I", fields)[0] if flags & 0x8000 else 0
        if kind == 0x73:
            survey.is_part, survey.is_solid = bool(flags & 1), bool(flags & 8)
            survey.is_encrypted = bool(flags & 0x80)
        elif kind == 0x74:
            if not flags & 1:
                survey.checksums.append(struct.unpack_from("<I", fields, 9)[0])
            survey.is_encrypted = bool(flags & 4)
            data += struct.unpack_from("<I", fields, 25)[0] << 32 if flags & 0x100 else 0
        elif kind == 0x7B:
            survey.has_next_part = bool(flags & 1)
            checksum = 4 if flags & 2 else 0
            survey.part = struct.unpack_from("<H", fields, checksum)[0] if flags & 8 else 0
        _skip(file, data)


def _header_rar4(file: BinaryIO) -> tuple[int, int, bytes]:
    start = file.read(7)
    if len(start) < 7:
        raise _Unreadable("the end of the archive is missing")
    checksum, kind, flags, size = struct.unpack("<HBHH", start)
    fields = file.read(max(0, size - 7))
    if zlib.crc32(start[2:] + fields) & 0xFFFF != checksum:
        raise _Unreadable("a header is damaged")
    return kind, flags, fields


def _skip(file: BinaryIO, count: int) -> None:
    if count > os.fstat(file.fileno()).st_size - file.tell():
        raise _Unreadable("it ends inside of a member")
    file.seek(count, os.SEEK_CUR)
