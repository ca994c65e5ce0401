"""A folder for one run: removed when it succeeds, kept when it fails or is killed, to resume."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cracks.errors import WorkspaceBusy, WorkspaceError
from cracks.system.atomic_files import remove

logger = logging.getLogger(__name__)

#: Folders of runs that failed or were killed which are kept; older ones go when a run begins.
KEPT = 3


@contextmanager
def scratch_folder(place: Path, name: str) -> Iterator[Path]:
    """Yield the folder `name` below `place`, locked for this run; remove it on success.

    A run of the same name finds in it what an earlier one left.

    Raises:
        WorkspaceBusy: another process works in it.
        WorkspaceError: the place cannot be written.
    """
    folder = place / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"{place} cannot be written ({error.strerror}). Let CRACKS_SCRATCH_DIR name a folder "
            "that can."
        ) from None
    try:
        with _held(folder):
            _remove_oldest(folder)
            try:
                yield folder
            except BaseException:
                logger.warning("What this run has made is kept in %s", folder)
                raise
            remove(folder)
    except Timeout:
        raise WorkspaceBusy(f"Another process works in {folder}. Wait until it ends.") from None
    _lock_of(folder).unlink(missing_ok=True)


def _held(folder: Path) -> FileLock:
    """Return the lock of a folder; the system releases it when its process dies."""
    return FileLock(_lock_of(folder), timeout=0)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_oldest(own: Path) -> None:
    others = [path for path in own.parent.iterdir() if path.is_dir() and path != own]
    for folder in sorted(others, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        try:
            with _held(folder):
                remove(folder)
                _lock_of(folder).unlink(missing_ok=True)
        except Timeout:
            continue  # locked by another process
