"""The back-ups in one place, and the contents that they share."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

from cracks.storage.object_store import FolderStore, ObjectStore
from cracks.system.console import progress
from cracks.system.hashing import digest_of_file
from infra.backup.manifest import BackupRefused, Manifest

NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z")

#: Files at a time: of a bucket each one is mostly waited for.
THREADS = 8

Given = TypeVar("Given")
Result = TypeVar("Result")


class Damaged(Exception):
    """A content is not there, or is another one than its name says."""


class Archive:
    """A folder or prefix that holds back-ups."""

    def __init__(self, place: ObjectStore) -> None:
        self.place = place
        #: The bytes of each content that this process has added, or found whole (0).
        self._whole: dict[str, int] = {}
        # Many threads add; no two may write the same content at once.
        self._locks = [threading.Lock() for _ in range(256)]

    @property
    def new(self) -> int:
        """How many bytes this process has added."""
        return sum(self._whole.values())

    def prepare(self) -> None:
        """Make the folder, for its owner alone: it will hold what the databases hold."""
        if isinstance(self.place, FolderStore):
            self.place.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    @cached_property
    def _known(self) -> dict[str, int]:
        """What was there at first; names of back-ups, and contents."""
        return self.place.sizes()

    @property
    def names(self) -> list[str]:
        """The back-ups, the oldest first."""
        names = (path.removesuffix(".json") for path in self._known)
        return sorted(filter(NAME.fullmatch, names))

    def read(self, name: str | None) -> Manifest:
        """Return a back-up, the last one if no name is given.

        Raises:
            BackupRefused: there is none, or what it says of itself is damaged.
        """
        if not self.names or (name and name not in self.names):
            shown = f" It has {', '.join(self.names[-5:])}." if self.names else ""
            wanted = f"back-up {name}" if name else "back-up"
            raise BackupRefused(f"{self.place.origin} has no {wanted}.{shown}")
        file = f"{name or self.names[-1]}.json"
        text = self.place.read(file).decode(errors="replace")
        return Manifest.parse(text, f"{self.place.origin}/{file}")

    def write(self, manifest: Manifest) -> None:
        """Give a back-up its name; from now on it is one."""
        self.place.write(f"{manifest.name}.json", manifest.text.encode())

    def add(self, file: Path, digest: str) -> None:
        """Keep a content unless it is there, and read it in any case.

        Raises:
            Damaged: what was written is not what is read, or the file changed meanwhile.
        """
        with self._locks[int(digest[:2], 16)]:
            if digest in self._whole:
                return
            if _path(digest) in self._known and self.is_whole(digest):
                self._whole[digest] = 0
                return
            self.place.write_file(_path(digest), file)
            with self.content(digest) as written:
                self._whole[digest] = written.stat().st_size

    @contextmanager
    def content(self, digest: str) -> Iterator[Path]:
        """Yield a local file with a content, compared with its digest.

        Raises:
            Damaged: it is not there, or is another one.
        """
        with ExitStack() as stack:
            try:
                local = stack.enter_context(self.place.local(_path(digest)))
            except FileNotFoundError:
                raise Damaged(digest) from None
            if digest_of_file(local) != digest:
                raise Damaged(digest)
            yield local

    def is_whole(self, digest: str) -> bool:
        """Return whether a content is there, and the one that its name says."""
        try:
            with self.content(digest):
                return True
        except Damaged:
            return False


def for_each(
    function: Callable[[Given], Result], items: Collection[Given], title: str
) -> list[Result]:
    """Return what a function returns for each item, computed by threads, and show the progress."""
    results = []
    with progress(len(items), title, "files") as advance, ThreadPool(THREADS) as pool:
        for result in pool.imap(function, items):
            results.append(result)
            advance(1)
    return results


def _path(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest}"
