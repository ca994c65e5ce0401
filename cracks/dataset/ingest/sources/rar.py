"""Unpack .rar archives: through libarchive, and where that cannot, through unar.

Neither is strict. libarchive compares no checksum of members that are stored uncompressed, as
photographs often are; both take a cut between two members, or a missing part, for the end. So
rarfile reads the headers first, and what comes out is compared with what they announce.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import rarfile

from cracks.dataset.ingest.sources.archive_safety import damaged, refuse_unsafe
from cracks.errors import SourceError
from cracks.system.console import progress

BY_HAND = "Or unpack it by hand and point ingest.source to the folder."
SEVERAL_PARTS = "is one of several parts"

#: Bytes to read at a time.
BLOCK = 1 << 16

#: The members to unpack, as rarfile describes them.
Members = dict[PurePosixPath, rarfile.RarInfo]


class Unreadable(Exception):
    """The reason, in a few words, why an archive, or a way to read it, failed."""


def extract_rar(path: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Write the files with a wanted name below an empty folder, and nothing elsewhere.

    Links and devices are left out, whatever their names. After a refusal the folder may hold files.

    Raises:
        SourceError: the archive is damaged, cut short, encrypted or unsafe, or no tool reads it.
    """
    try:
        archive = _open(path)
        if archive.needs_password():
            raise SourceError(
                f"ingest.source: the archive {path} is encrypted. Unpack it by hand with its "
                "password and point ingest.source to the folder."
            )
        refuse_unsafe(archive.namelist(), path)
        _unpack(archive, _chosen(archive, wanted), folder)
    except Unreadable as error:
        raise damaged(path, str(error)) from None
    except OSError as error:
        raise SourceError(
            f"ingest.source: the archive {path} cannot be unpacked to {folder}: {error.strerror}. "
            "Let it be read, or make room there (TMPDIR names another place)."
        ) from None


def _open(path: Path) -> rarfile.RarFile:
    """Return an archive with the headers of all its parts read, from the first to the end mark."""
    kinds: list[int] = []
    rarfile.RAR_MAX_COMMENT = 0  # comments are passed over: rarfile would run a program for them
    try:
        if not rarfile.is_rarfile(path):
            raise Unreadable("it is no .rar archive")
        archive = rarfile.RarFile(path, info_callback=lambda header: kinds.append(header.type))
    except rarfile.NeedFirstVolume:
        return _open(_first_part(path))
    except (rarfile.Error, ArithmeticError, ValueError) as error:  # such as a date in the year 1e9
        raise Unreadable(str(error)) from None
    is_whole = kinds.count(rarfile.RAR_BLOCK_ENDARC) == len(archive.volumelist())
    if not archive.needs_password() and (archive.strerror() or not is_whole):
        raise Unreadable(archive.strerror() or "the end of the archive is missing")
    return archive


def _first_part(path: Path) -> Path:
    if not has_unar():
        raise _only_unar(path, SEVERAL_PARTS)
    first = Path(_listing(path.absolute())["lsarProperties"]["XADVolumes"][0])
    if first == path.absolute():
        raise Unreadable("part 1 is missing")
    return first


def _chosen(archive: rarfile.RarFile, wanted: Callable[[str], bool]) -> Members:
    """Return the files with a wanted name by their place.

    Raises:
        SourceError: a place is taken twice, or the archive does not hold the content of a file.
    """
    members = [one for one in archive.infolist() if _is_file(one) and wanted(one.filename)]
    chosen = {PurePosixPath(one.filename): one for one in members}
    folders = {parent for place in chosen for parent in place.parents}
    for one in members:
        place, holds = PurePosixPath(one.filename), f"{archive.filename} holds {one.filename!r}"
        if one.file_redir and one.file_redir[0] == rarfile.RAR5_XREDIR_FILE_COPY:
            raise SourceError(
                f"ingest.source: the archive {holds} only as a reference to an equal file. Unpack "
                "it by hand with WinRAR or unrar and point ingest.source to the folder."
            )
        if chosen[place] is not one or place in folders:
            raise SourceError(
                f"ingest.source: the archive {holds} twice, or as a file and as a folder. Unpack "
                "it by hand, keep the one that is meant, and point ingest.source to the folder."
            )
    return chosen


def _is_file(member: rarfile.RarInfo) -> bool:
    """Return whether a member is neither a folder, a link nor a device."""
    kind = member.mode & 0o170000 if member.host_os == rarfile.RAR_OS_UNIX else 0
    is_hard_link = member.file_redir and member.file_redir[0] == rarfile.RAR5_XREDIR_HARD_LINK
    return member.is_file() and not is_hard_link and kind in (0, stat.S_IFREG)


def _unpack(archive: rarfile.RarFile, chosen: Members, folder: Path) -> None:
    """Write the chosen files in the first way that gets them all right."""
    failures = []
    for way in _ways(archive):
        try:
            way(archive, chosen, folder)
            for place, member in chosen.items():
                _require_whole(folder / place, member)
            return
        except Unreadable as error:
            failures.append(damaged(archive.filename, str(error)))
            shutil.rmtree(folder)
            folder.mkdir()
    if has_unar():
        raise failures[0]
    raise SourceError(
        f"{failures[0]} If that changes nothing, `apt-get install unar`: it reads some that "
        "libarchive cannot."
    )


def _ways(archive: rarfile.RarFile) -> list[Callable[[rarfile.RarFile, Members, Path], None]]:
    """Return the functions to try in turn.

    Raises:
        SourceError: none of the tools that could read the archive is installed.
    """
    path, only_unar = archive.filename, ""
    if archive.is_solid() and rarfile.get_rar_version(path) == rarfile.RAR_V3:
        only_unar = "is a solid archive of RAR 4"
    if len(archive.volumelist()) > 1:
        only_unar = SEVERAL_PARTS
    by_libarchive = [unpack_with_libarchive] if has_libarchive() and not only_unar else []
    by_unar = [unpack_with_unar] if has_unar() else []
    if only_unar and not by_unar:
        raise _only_unar(path, only_unar)
    if not (by_libarchive or by_unar):
        raise SourceError(
            f"ingest.source: reading {path} needs libarchive: `apt-get install libarchive13` "
            f"(or unar). {BY_HAND}"
        )
    return [*by_libarchive, *by_unar]


def _only_unar(path: object, reason: str) -> SourceError:
    return SourceError(
        f"ingest.source: {path} {reason}, which only unar reads: `apt-get install unar`. {BY_HAND}"
    )


def _require_whole(place: Path, member: rarfile.RarInfo) -> None:
    """Compare an unpacked file with what the headers announce: name, size, CRC32 or BLAKE2sp."""
    if not place.is_file():
        raise Unreadable(f"{member.filename}: not unpacked")
    size = place.stat().st_size
    if size != member.file_size:
        raise Unreadable(f"{member.filename}: {size:,} of {member.file_size:,} bytes")
    has_crc = member.CRC is not None
    announced = member.CRC if has_crc else member.blake2sp_hash
    checksum = rarfile.CRC32Context() if has_crc else rarfile.Blake2SP()
    with place.open("rb") as file:
        while block := file.read(BLOCK):
            checksum.update(block)
    if announced not in (None, checksum.digest()):
        raise Unreadable(f"{member.filename}: wrong checksum")


def has_libarchive() -> bool:
    """Return whether both the package and the system's library are there."""
    try:
        import libarchive  # noqa: F401
    except (ImportError, AttributeError, OSError):
        # Without the system's library, the names that it should have are looked up in vain.
        return False
    return True


def unpack_with_libarchive(archive: rarfile.RarFile, chosen: Members, folder: Path) -> None:
    """Write the chosen files, as far as libarchive finds them.

    Raises:
        Unreadable: libarchive gives up.
    """
    import libarchive

    kind = "rar" if rarfile.get_rar_version(archive.filename) == rarfile.RAR_V3 else "rar5"
    rest = set(chosen)
    try:
        # libarchive cannot open every path by its name, but every file that is open.
        with (
            Path(archive.filename).open("rb") as file,
            libarchive.fd_reader(file.fileno(), kind, "none") as entries,
            progress(len(chosen), "Unpacking", "files") as advance,
        ):
            for entry in entries:
                place = PurePosixPath(str(entry.pathname))
                if place in rest and entry.isreg and not entry.islnk:
                    rest.remove(place)
                    _write(folder / place, entry.get_blocks(BLOCK))
                    advance(1)
    except libarchive.ArchiveError as error:
        raise Unreadable(error.msg) from None


def _write(place: Path, blocks: Iterator[bytes]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        file.writelines(blocks)


def has_unar() -> bool:
    """Return whether both of its programs are there."""
    return bool(shutil.which("unar") and shutil.which("lsar"))


def unpack_with_unar(archive: rarfile.RarFile, chosen: Members, folder: Path) -> None:
    """Write the chosen files, as far as unar finds them.

    Raises:
        Unreadable: unar cannot list them.
    """
    with tempfile.TemporaryDirectory(prefix="cracks-") as parts:
        # unar takes neighbours whose names differ in a number for parts, whatever they hold.
        for part in map(Path, archive.volumelist()):
            (Path(parts) / part.name).symlink_to(part.absolute())
        path = Path(parts) / Path(archive.filename).name
        # Only what is chosen is unpacked, so that there is no link to follow.
        indexes = [
            str(one["XADIndex"])
            for one in _listing(path)["lsarContents"]
            if PurePosixPath(one["XADFileName"]) in chosen
            and not (one.get("XADIsLink") or one.get("XADIsDirectory"))
        ]
        if indexes:
            _run_unar(path, indexes, folder)


def _listing(path: Path) -> dict[str, Any]:
    """Return what lsar says of an archive; where it gets stuck, as far as it came."""
    listed = subprocess.run(
        ["lsar", "-json", path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(),
        check=False,
    )
    try:
        content: dict[str, Any] = json.loads(listed.stdout)
    except ValueError:
        raise Unreadable("unar cannot list it") from None
    return content


def _run_unar(path: Path, indexes: list[str], folder: Path) -> None:
    options = ["-no-directory", "-force-overwrite", "-output-directory", str(folder)]
    with (
        subprocess.Popen(
            ["unar", *options, "-indexes", str(path), *indexes],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            encoding="utf-8",
            errors="replace",
        ) as process,
        progress(len(indexes), "Unpacking", "files") as advance,
    ):
        assert process.stdout
        for line in process.stdout:
            advance(line.rstrip().endswith("OK."))


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
