"""Mirrors: folders that hold what a prefix holds, with an index of what is known to be whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cracks.errors import StorageError
from cracks.storage.addresses import OWN_FOLDER, Address, StoredObject, require_file_names
from cracks.storage.client import connect, explaining, listed
from cracks.storage.downloads import Downloads
from cracks.system.atomic_files import write_text
from cracks.system.console import progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mirror:
    """What a mirror holds, and what it took to bring it there.

    `unverified` are the keys of objects that could be compared by their size only.
    """

    objects: tuple[StoredObject, ...]
    downloaded: int
    removed: int
    unverified: tuple[str, ...]


def mirror(address: Address, folder: Path, wanted: Callable[[str], bool]) -> Mirror:
    """Bring `folder` to the state of the objects below `address` whose key is `wanted`.

    Only what is missing or has changed is downloaded, and each object is compared with its
    checksum. A killed mirror resumes where it stopped. One process at a time.

    Raises:
        StorageError: the bucket does not exist, the credentials do not open it, an object cannot
            be kept as a file or does not have its checksum, or `folder` holds other files.
        StorageUnavailable: the storage does not respond, or something changed meanwhile.
    """
    with explaining(address):
        client = connect()
        objects = [stored for stored in listed(client, address) if wanted(stored.key)]
        require_file_names(objects, address)
        _require_own(folder)
        removed = _clear(folder, objects)
        missing = _missing(folder, objects)
        downloads = Downloads(client, address, folder)
        downloads.clear_partials(missing)
        if missing:
            _download(downloads, missing, folder)
    _tell_of_unverified(address, downloads.unverified)
    return Mirror(tuple(objects), len(missing), removed, tuple(sorted(downloads.unverified)))


def _require_own(folder: Path) -> None:
    """Make the folder a mirror, unless somebody else's files would be lost in it."""
    own = folder / OWN_FOLDER
    if not own.is_dir() and folder.exists() and any(folder.iterdir()):
        raise StorageError(
            f"{folder} is no mirror of objects, but holds other files. Name an empty folder."
        )
    (own / "partial").mkdir(parents=True, exist_ok=True)


def _clear(folder: Path, objects: Sequence[StoredObject]) -> int:
    """Remove all that is not in the listing; return how many files that were."""
    kept = {folder / stored.key for stored in objects}
    own = folder / OWN_FOLDER
    removed = 0
    for path in sorted(folder.rglob("*"), reverse=True):
        if own in (path, *path.parents):
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept or path.is_symlink():
            path.unlink()
            removed += 1
    return removed


def _missing(folder: Path, objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Return what the folder does not hold whole and untouched, and let the index forget it."""
    known = _read_index(folder)
    present = {stored: line for stored in objects if (line := _line(folder, stored)) in known}
    # Before anything is downloaded in the place of what has changed.
    write_text(_index(folder), "".join(f"{line}\n" for line in present.values()))
    return [stored for stored in objects if stored not in present]


def _index(folder: Path) -> Path:
    return folder / OWN_FOLDER / "index.jsonl"


def _read_index(folder: Path) -> set[str]:
    """Return the lines of the index; the last one may have been cut, and equals no other."""
    try:
        text = _index(folder).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return set()
    return set(filter(None, text.splitlines()))


def _line(folder: Path, stored: StoredObject) -> str:
    """Return what the index says of an object whose file was left as it is now, if it is whole."""
    try:
        facts = (folder / stored.key).stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if facts.st_size != stored.size:
        return ""
    return json.dumps([stored.key, stored.etag, stored.size, facts.st_mtime_ns])


def _download(downloads: Downloads, missing: Sequence[StoredObject], folder: Path) -> None:
    with (
        _index(folder).open("a", encoding="utf-8") as index,
        progress(len(missing), "downloading photographs", "objects") as advance,
        closing(downloads.fetch(missing)) as arrived,
    ):
        for stored in arrived:
            index.write(f"{_line(folder, stored)}\n")
            index.flush()  # so that a killed process has lost nothing
            advance(1)


def _tell_of_unverified(address: Address, keys: Sequence[str]) -> None:
    if keys:
        logger.warning(
            "%s: %d objects have no checksum that can be compared, such as %r; of these, only the "
            "size is known to be right.",
            address,
            len(keys),
            min(keys),
        )
