"""Restore: every place must be empty and every content whole before anything is written.

Files come back first and the databases last, each of them whole or not at all. A restore that was
killed leaves `.restore.partial` in the places that it had begun, and is run again; it does not take
what lies there for somebody's files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

from cracks.inference.handover.champion import POINTER
from cracks.storage.object_store import ObjectStore
from infra.backup.archive import Archive, for_each
from infra.backup.databases import Database
from infra.backup.manifest import BackupRefused, Manifest, Part, SavedFile
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
        files = [file for file in part.files if file.path != POINTER]
        for_each(lambda file: self._file(file, place), files, f"restoring {part.name}")
        # Last, so that a service that runs already finds the bundle that it names.
        for pointer in (file for file in part.files if file.path == POINTER):
            self._file(pointer, place)

    def _file(self, file: SavedFile, place: ObjectStore) -> None:
        with self._archive.content(file.sha256) as content:
            place.write_file(file.path, content, private=file.private)

    def _database(self, part: Part, database: Database) -> None:
        if database.tables():
            return  # it is whole: a restore that was killed had come so far
        logger.info("restoring the database %s", part.name)
        moved = None
        if part.name == MLFLOW:  # it may name the artifacts by whole URIs
            (artifacts,) = (one for one in self._manifest.parts if one.name == "artifacts")
            moved = (artifacts.origin, self._state.files["artifacts"].origin)
        (dump,) = part.files
        with self._archive.content(dump.sha256) as content:
            database.restore(content, moved)


def check(manifest: Manifest, archive: Archive) -> None:
    """Read every content of a back-up.

    Raises:
        BackupRefused: some are damaged or absent; the message names them.
    """
    names: dict[str, str] = {}
    for part in manifest.parts:
        for file in part.files:
            names.setdefault(file.sha256, f"{part.name}/{file.path}")
    whole = for_each(archive.is_whole, names, f"checking {manifest.name}")
    damaged = [name for name, is_whole in zip(names.values(), whole, strict=True) if not is_whole]
    if damaged:
        more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        raise BackupRefused(
            f"The back-up {manifest.name} is damaged: {', '.join(damaged[:NAMED])}{more}. Nothing "
            "was restored; take another one with NAME=, or another place."
        )
