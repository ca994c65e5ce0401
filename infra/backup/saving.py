"""Back up: the databases first, then the files, so that every run has what it names."""

from __future__ import annotations

import logging
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cracks.inference.handover.champion import POINTER
from cracks.storage.object_store import ObjectStore
from cracks.system.hashing import digest_of_bytes, digest_of_file
from infra.backup.archive import Archive, Damaged, for_each
from infra.backup.manifest import BackupRefused, Manifest, Part, SavedFile
from infra.backup.state import State, require_apart

logger = logging.getLogger("cracks.backup")

#: How often a promotion may come in between before it is given up.
ATTEMPTS = 3


class Saving:
    """One back-up in the making."""

    def __init__(self, state: State, archive: Archive) -> None:
        self._state, self._archive = state, archive

    def save(self) -> Manifest:
        """Back everything up and return what was written.

        Raises:
            BackupRefused: something cannot be read, or the place is within what is backed up.
            StorageError: a bucket refuses.
            OSError: the place cannot be written.
        """
        require_apart(self._archive.place, self._state)
        self._archive.prepare()
        databases, service = self._registry_and_service()
        places = {name: one for name, one in self._state.files.items() if name != "service"}
        files = [self._files(name, place) for name, place in places.items()]
        manifest = Manifest(
            name=datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ"),
            tools=self._tools(),
            parts=[*databases, *files, service],
        )
        if manifest.name in self._archive.names:
            raise BackupRefused(f"{manifest.name} exists. Wait a second, then run it again.")
        self._archive.write(manifest)
        return manifest

    def _registry_and_service(self) -> tuple[list[Part], Part]:
        """Save databases and service folder as they were at one moment.

        A promotion writes both. One that began, but had not handed over, is in the database as
        one that was interrupted, and the next command settles it.
        """
        for _ in range(ATTEMPTS):
            before = self._champion()
            databases = [self._database(name) for name in self._state.databases]
            service = self._files("service", self._state.files["service"])
            saved = {file.path: file.sha256 for file in service.files}.get(POINTER)
            if saved == before:
                return databases, service
            logger.info("A promotion came in between; once more")
        raise BackupRefused(
            f"Champions changed {ATTEMPTS} times while the databases were saved. Run it again "
            "when no promotion is under way."
        )

    def _champion(self) -> str | None:
        try:
            return digest_of_bytes(self._state.files["service"].read(POINTER))
        except FileNotFoundError:
            return None

    def _database(self, name: str) -> Part:
        database = self._state.databases[name]
        logger.info("dumping the database %s", name)
        with tempfile.TemporaryDirectory(prefix="cracks-backup-") as folder:
            dump = Path(folder) / f"{name}.dump"
            database.dump(dump)
            saved = self._keep(dump, dump.name)
        return Part(name=name, kind=database.kind, origin=database.origin, files=[saved])

    def _files(self, name: str, place: ObjectStore) -> Part:
        saved: dict[str, SavedFile] = {}
        # What was merged or replaced meanwhile is found when it is looked for again.
        for _ in range(ATTEMPTS):
            paths = [path for path in place.sizes() if path not in saved]
            if not paths:
                break
            kept = for_each(lambda path: self._copy(place, path), paths, f"backing up {name}")
            saved |= {one.path: one for one in kept if one}
        files = sorted(saved.values(), key=lambda one: one.path)
        return Part(name=name, kind="files", origin=place.origin, files=files)

    def _copy(self, place: ObjectStore, path: str) -> SavedFile | None:
        try:
            with place.local(path) as local:
                return self._keep(local, path)
        except FileNotFoundError:
            return None  # it was removed meanwhile

    def _keep(self, local: Path, path: str) -> SavedFile:
        for _ in range(ATTEMPTS):
            digest, size = digest_of_file(local), local.stat().st_size
            try:
                self._archive.add(local, digest)
            except Damaged:
                continue  # the file has changed since its digest was taken, or the disk is bad
            private = local.stat().st_mode & 0o077 == 0
            return SavedFile(path=path, size=size, sha256=digest, private=private)
        raise BackupRefused(
            f"{path}: what is read back from {self._archive.place.origin} is not what was "
            "written. Look at that disk, or back up to another place."
        )

    def _tools(self) -> dict[str, str]:
        tools = {name: version(name) for name in ("mlflow", "prefect", "dvc")}
        tools["python"] = ".".join(map(str, sys.version_info[:3]))
        for database in self._state.databases.values():
            tools |= database.tools()
        return tools
