"""What lies in the store that this process and all workers share, and whether it is whole.

files/md5/1f/0a2b…      shards, where `dvc push` puts them too
networks/DIGEST/…       what computes: files, and content.json when all of them are there
features/DIGEST/…       results, an object a piece, found again by what they were computed from
answers/DIGEST/…  inspections/DIGEST/…
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from cracks.errors import ClusterError
from cracks.storage.object_store import RETRY_ATTEMPTS, ObjectStore, retry_pause
from cracks.system.hashing import digest_of_bytes, digest_of_file, digest_of_value

#: Written last: a folder without it is not whole.
CONTENT = "content.json"

#: Bytes of a SHA-256.
DIGEST_SIZE = 32


def write_result(store: ObjectStore, key: str, content: bytes) -> None:
    """Store a result with its SHA-256 behind it.

    S3 shows an object when all of it is there. Other servers show it while it grows, and keep what
    a client has sent that was killed meanwhile.
    """
    store.write(key, content + hashlib.sha256(content).digest())


def read_result(store: ObjectStore, key: str) -> bytes:
    """Return a result, once it is whole.

    Raises:
        ClusterError: it never is.
    """
    for attempt in range(1, RETRY_ATTEMPTS):
        content = _whole_result(store, key)
        if content is not None:
            return content
        time.sleep(retry_pause(attempt) / 10)  # another worker may be writing the same again
    raise ClusterError(f"The result {key} in the store is damaged. Remove it, and run it again.")


def is_done(store: ObjectStore, key: str) -> bool:
    """Return whether the store has a result, and all of it."""
    return _whole_result(store, key) is not None


def _whole_result(store: ObjectStore, key: str) -> bytes | None:
    try:
        sealed = store.read(key)
    except FileNotFoundError:
        return None
    content, digest = sealed[:-DIGEST_SIZE], sealed[-DIGEST_SIZE:]
    return content if hashlib.sha256(content).digest() == digest else None


def send_files(store: ObjectStore, files: Sequence[Path]) -> str:
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


def fetch_folder(store: ObjectStore, key: str, folder: Path) -> None:
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
            f"{error.filename} is missing in the store. Run it again; what is missing is sent "
            "again."
        ) from None
