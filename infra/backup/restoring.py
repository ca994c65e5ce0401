"""Restore: every place must be empty and every content whole before anything is written.

Files come back first and the databases last, each of them whole or not at all. A restore that was
killed leaves `.restore.partial` in the places that it had begun, and is run again; it does not take
what lies there for somebody's files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from typing import cast

from cracks.inference.handover.champion import POINTER
from cracks.storage.object_store import ObjectStore
from cracks.system.console import progress
from infra.backup.archive import Archive, Damaged
from infra.backup.databases import Database
from infra.backup.manifest import BackupRefused, Manifest, Part, SavedFile
from infra.backup.saving import THREADS
from infra.backup.state import MLFLOW, State, require_apart

logger = logging.getLogger("cracks.backup")

#: Lies in a place that is being restored, and says from which back-up.
MARK = ".restore.partial"

#: Damaged files that are named.
NAMED = 5


class Restoring:
    """One back-up, and the empty places that it is brought back to."""

    def __init__(self, manifest: Manifest, archive: Archive, state: State) -> None:
        self._manifest, self._archive, self._state = manifest, archive, state

    def restore(self) -> None:
        """Bring everything back.

        Raises:
            BackupRefused: a place is missing or not empty, or a content is damaged; nothing was
                written.
            StorageError: a bucket refuses.
            OSError: a place cannot be written.
        """
        require_apart(self._archive.place, self._state)
        self._require_places()
        self._require_empty()
        check(self._manifest, self._archive)
        files = {part.name: self._state.files[part.name] for part in self._parts("files")}
        self._write_marks(files.values())
        for part in self._parts("files"):
            self._files(part, files[part.name])
        for part in (*self._parts("sqlite"), *self._parts("postgresql")):
            self._database(part, self._state.databases[part.name])
        for place in files.values():
            place.remove(MARK)

    def _parts(self, kind: str) -> list[Part]:
        return [part for part in self._manifest.parts if part.kind == kind]

    def _require_places(self) -> None:
        for part in self._manifest.parts:
            if part.kind == "files" and part.name not in self._state.files:
                raise BackupRefused(
                    f"The back-up has {part.name} ({part.origin}), and no place is named for it. "
                    "Set the variables as in infra/backup/state.py."
                )
            if part.kind == "files":
                continue
            database = self._state.databases.get(part.name)
            if database is None or database.kind != part.kind:
                raise BackupRefused(
                    f"The back-up has the {part.kind} database {part.name}. Name an empty one with "
                    f"CRACKS_BACKUP_DATABASE_{part.name.upper()}."
                )

    def _require_empty(self) -> None:
        places = [(part.name, self._state.files[part.name]) for part in self._parts("files")]
        begun = {name for name, place in places if self._is_marked(place)}
        full = [
            f"{part.name} ({self._state.databases[part.name].origin})"
            for part in (*self._parts("sqlite"), *self._parts("postgresql"))
            # Where this very restore was begun, the database came back with it, and whole.
            if not begun and self._state.databases[part.name].tables()
        ]
        full += [
            f"{name} ({place.origin})"
            for name, place in places
            if name not in begun and place.sizes()
        ]
        if full:
            raise BackupRefused(
                f"Not empty: {', '.join(full)}. Nothing was restored; move it away, or name other "
                "places. Servers that would write there must not run yet."
            )

    @property
    def _mark(self) -> str:
        """What says that this very back-up is being restored to these very places."""
        databases = [self._state.databases[name].origin for name in self._state.databases]
        files = [place.origin for place in self._state.files.values()]
        return "\n".join([self._manifest.name, *databases, *files])

    def _is_marked(self, place: ObjectStore) -> bool:
        with suppress(FileNotFoundError):
            return place.read(MARK) == self._mark.encode()
        return False

    def _write_marks(self, places: Iterable[ObjectStore]) -> None:
        for place in places:
            place.write(MARK, self._mark.encode())

    def _files(self, part: Part, place: ObjectStore) -> None:
        first = [file for file in part.files if file.path != POINTER]
        # A service that looks already then finds the bundle that champion.json names.
        last = [file for file in part.files if file.path == POINTER]
        with (
            progress(len(part.files), f"restoring {part.name}", "files") as advance,
            ThreadPool(THREADS) as pool,
        ):
            for files in (first, last):
                for _ in pool.imap_unordered(lambda one: self._file(one, place), files):
                    advance(1)

    def _file(self, file: SavedFile, place: ObjectStore) -> None:
        with self._archive.content(file.sha256) as content:
            place.write_file(file.path, content, private=file.private)

    def _database(self, part: Part, database: Database) -> None:
        if database.tables():
            return  # it is whole: a restore that was killed had come so far
        logger.info("restoring the database %s", part.name)
        (dump,) = part.files
        with self._archive.content(dump.sha256) as content:
            database.restore(content, self._move_artifacts if part.name == MLFLOW else _leave)

    def _move_artifacts(self, database: Database) -> None:
        """Let MLflow find the artifacts where they are now, if it names them by whole URIs."""
        was = cast("Part", self._manifest.part("artifacts")).origin
        database.move_artifacts(was, self._state.artifacts.origin)


def _leave(_: Database) -> None:
    """Nothing is to be changed in this database."""


def check(manifest: Manifest, archive: Archive) -> None:
    """Read every content of a back-up.

    Raises:
        BackupRefused: some are damaged or absent; the message names them.
    """

    def problem(named: tuple[str, SavedFile]) -> str | None:
        name, file = named
        try:
            with archive.content(file.sha256):
                return None
        except Damaged:
            return f"{name}/{file.path}"

    files = list(_each_content(manifest))
    with (
        progress(len(files), f"checking {manifest.name}", "files") as advance,
        ThreadPool(THREADS) as pool,
    ):
        damaged = []
        for found in pool.imap(problem, files):
            damaged += [found] if found else []
            advance(1)
    if damaged:
        more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        raise BackupRefused(
            f"The back-up {manifest.name} is damaged: {', '.join(damaged[:NAMED])}{more}. Nothing "
            "was restored; take another one with NAME=, or another place."
        )


def _each_content(manifest: Manifest) -> Iterator[tuple[str, SavedFile]]:
    """Yield part and file of each content once."""
    seen = set()
    for part in manifest.parts:
        for file in part.files:
            if file.sha256 not in seen:
                seen.add(file.sha256)
                yield part.name, file
