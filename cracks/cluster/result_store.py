"""The store that this process and all workers share: a prefix in S3, or a folder.

files/md5/1f/0a2b…      shards, where `dvc push` puts them too
networks/DIGEST/…       what computes: files, and content.json when all of them are there
features/DIGEST/…       results, an object a piece, found again by what they were computed from
answers/DIGEST/…  inspections/DIGEST/…
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

from cracks.errors import ClusterError, CracksError
from cracks.images.files import is_remote
from cracks.system.hashing import digest_of_bytes, digest_of_file, digest_of_value

#: Written last: a folder without it is not whole.
CONTENT = "content.json"

#: How often something that time can heal is tried, and seconds of the first and the longest pause.
PATIENCE, FIRST_PAUSE, LONGEST_PAUSE = 8, 1.0, 30.0

#: Bytes of a SHA-256.
DIGEST_SIZE = 32

Result = TypeVar("Result")


class Store(Protocol):
    """Objects by key. Every method may raise `SourceError` or `SourceUnavailable`."""

    def keys(self, beginning: str) -> list[str]:
        """Return the keys that begin so, sorted."""

    def has(self, key: str) -> bool:
        """Return whether there is an object of this key."""

    def read(self, key: str) -> bytes:
        """Return an object; raises FileNotFoundError where there is none."""

    def write(self, key: str, content: bytes) -> None:
        """Store an object, whole or not at all."""

    def remove(self, key: str) -> None:
        """Remove an object, if there is one."""


@lru_cache
def open_store(address: str) -> Store:
    """Return the store at `s3://bucket/prefix` or in a folder; once a process.

    Raises:
        SourceError: the address is none.
    """
    if not is_remote(address):
        return FolderStore(Path(address))
    from cracks.storage.addresses import parse_address
    from cracks.storage.folders import ObjectFolder

    return ObjectFolder(parse_address(address))


class FolderStore:
    """Objects as files below a folder that every worker sees at the same path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keys(self, beginning: str) -> list[str]:
        """Return the keys that begin so, sorted."""
        start, _, name = beginning.rpartition("/")
        found = (
            Path(place, file).relative_to(self._folder).as_posix()
            for place, _, files in os.walk(self._folder / start)
            for file in files
            if not file.startswith(".")
        )
        return sorted(key for key in found if key.startswith(f"{start}/{name}" if start else name))

    def has(self, key: str) -> bool:
        """Return whether there is an object of this key."""
        return (self._folder / key).is_file()

    def read(self, key: str) -> bytes:
        """Return an object; raises FileNotFoundError where there is none."""
        return (self._folder / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Store an object, whole or not at all; two processes may write the same one."""
        place = self._folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            partial.write_bytes(content)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        """Remove an object, if there is one."""
        (self._folder / key).unlink(missing_ok=True)


class PatientStore:
    """A store that is asked again where time can heal what it says."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, beginning: str) -> list[str]:
        """As `Store.keys`."""
        return patiently(lambda: self._store.keys(beginning))

    def has(self, key: str) -> bool:
        """As `Store.has`."""
        return patiently(lambda: self._store.has(key))

    def read(self, key: str) -> bytes:
        """As `Store.read`."""
        return patiently(lambda: self._store.read(key))

    def write(self, key: str, content: bytes) -> None:
        """As `Store.write`."""
        patiently(lambda: self._store.write(key, content))

    def remove(self, key: str) -> None:
        """As `Store.remove`."""
        patiently(lambda: self._store.remove(key))


def patiently(ask: Callable[[], Result]) -> Result:
    """Return what `ask` returns, tried again as long as time can heal what it raises."""
    for attempt in range(1, PATIENCE):
        try:
            return ask()
        except CracksError as error:
            if not error.is_transient:
                raise
        time.sleep(pause(attempt))
    return ask()


def pause(attempt: int) -> float:
    """Return the seconds to wait after so many attempts."""
    return float(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))


def write_result(store: Store, key: str, content: bytes) -> None:
    """Store a result with its SHA-256 behind it.

    S3 shows an object when all of it is there. Other servers show it while it grows, and keep what
    a client has sent that was killed meanwhile.
    """
    store.write(key, content + hashlib.sha256(content).digest())


def read_result(store: Store, key: str) -> bytes:
    """Return a result, once it is whole.

    Raises:
        ClusterError: it never is.
    """
    for attempt in range(1, PATIENCE):
        content = _whole_result(store, key)
        if content is not None:
            return content
        time.sleep(pause(attempt) / 10)  # another worker may be writing the same again
    raise ClusterError(f"The result {key} in the store is damaged. Remove it, and run it again.")


def is_done(store: Store, key: str) -> bool:
    """Return whether the store has a result, and all of it."""
    return _whole_result(store, key) is not None


def _whole_result(store: Store, key: str) -> bytes | None:
    try:
        sealed = store.read(key)
    except FileNotFoundError:
        return None
    content, digest = sealed[:-DIGEST_SIZE], sealed[-DIGEST_SIZE:]
    return content if hashlib.sha256(content).digest() == digest else None


def send_files(store: Store, files: Sequence[Path]) -> str:
    """Send files into a folder of their own, unless it is there already; return its key."""
    digests = {file.name: digest_of_file(file) for file in files}
    key = f"networks/{digest_of_value(digests)}"
    content = json.dumps(digests).encode()
    try:
        if store.read(f"{key}/{CONTENT}") == content:
            return key
    except FileNotFoundError:
        pass
    for file in files:
        store.write(f"{key}/{file.name}", file.read_bytes())
    store.write(f"{key}/{CONTENT}", content)
    return key


def fetch_folder(store: Store, key: str, folder: Path) -> None:
    """Bring the files of a folder that was sent.

    Raises:
        ClusterError: a file is missing, or another one than was sent.
    """
    try:
        files: dict[str, str] = json.loads(store.read(f"{key}/{CONTENT}"))
        folder.mkdir(parents=True, exist_ok=True)
        for name, digest in files.items():
            content = store.read(f"{key}/{name}")
            if digest_of_bytes(content) != digest:
                raise ClusterError(
                    f"{key}/{name} in the store is damaged. Remove {key}/; it is sent again."
                )
            (folder / name).write_bytes(content)
    except FileNotFoundError as error:
        raise ClusterError(
            f"{error} is missing in the store. Run it again; what is missing is sent again."
        ) from None
