"""Downloads of objects into a folder: many at a time, continued where they broke off, compared."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from cracks.errors import StorageError, StorageUnavailable, one_line
from cracks.storage.addresses import OWN_FOLDER, Address, StoredObject
from cracks.storage.checksums import has_etag, is_md5
from cracks.storage.client import BREAKS, THREADS, etag_of, status_of
from cracks.system.atomic_files import remove
from cracks.system.hashing import digest_of_file, digest_of_value

#: Bytes that are read at a time.
PIECE = 1 << 20


def partial(folder: Path, stored: StoredObject) -> Path:
    """Return the partial file of a download; it differs for other content of the same key."""
    name = digest_of_value([stored.key, stored.etag, stored.size])
    return folder / OWN_FOLDER / "partial" / name


class _Stopped(Exception):
    """Another object has failed, or somebody has pressed Ctrl-C."""


class Downloads:
    """Bring objects into a folder."""

    def __init__(self, client: Any, address: Address, folder: Path) -> None:
        self._client, self._address, self._folder = client, address, folder
        self._stopping = threading.Event()
        #: The keys of objects that could be compared by their size only.
        self.unverified: list[str] = []

    def clear_partials(self, expected: Sequence[StoredObject]) -> None:
        """Remove what has come of other objects than these."""
        growing = {partial(self._folder, stored) for stored in expected}
        for path in (self._folder / OWN_FOLDER / "partial").iterdir():
            if path not in growing:
                remove(path)

    def fetch(self, objects: Sequence[StoredObject]) -> Generator[StoredObject, None, None]:
        """Yield each object when it is there; end all threads at the first that fails."""
        # Its threads are daemons: those of an executor would hold up Ctrl-C until a silent
        # server's time is over.
        pool = ThreadPool(min(THREADS, len(objects)))
        try:
            yield from pool.imap_unordered(self._fetch, objects)
        except Exception:
            self._stop(pool)
            pool.join()
            raise
        finally:
            self._stop(pool)

    def _stop(self, pool: ThreadPool) -> None:
        self._stopping.set()
        pool.terminate()

    def _fetch(self, stored: StoredObject) -> StoredObject:
        """Download one object, compare it, and move it to its place."""
        growing, target = partial(self._folder, stored), self._folder / stored.key
        for _ in ("first", "once more"):
            self._complete(growing, stored)
            if self._is_whole(growing, stored):
                target.parent.mkdir(parents=True, exist_ok=True)
                growing.replace(target)
                return stored
            growing.unlink()
        raise StorageError(
            f"{self._address}: {stored.key!r} does not have its checksum ({stored.etag}, "
            f"{stored.size:,} bytes), fetched twice. Upload that object again."
        )

    def _complete(self, growing: Path, stored: StoredObject) -> None:
        """Download what is not yet there; resume where it broke off as long as bytes come."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        growing.touch()  # an empty object needs no response
        breaks = 0
        while (size := growing.stat().st_size) < stored.size:
            response = self._open(stored, size)
            try:
                self._copy(response, growing)
                return
            except (BotoCoreError, HTTPError) as error:
                breaks = 0 if growing.stat().st_size > size else breaks + 1
                if breaks == BREAKS:
                    raise StorageUnavailable(
                        f"{self._address}: {stored.key!r} breaks off again and again "
                        f"({one_line(error)}). Run it again; it resumes where it stopped."
                    ) from None

    def _open(self, stored: StoredObject, start: int) -> Any:
        """Begin to receive an object, from byte `start` on."""
        self._stop_if_asked()
        rest = {"Range": f"bytes={start}-"} if start else {}
        response = self._request(self._client.get_object, stored, **rest)
        if stored.etag and etag_of(response) != stored.etag:
            response["Body"].close()
            raise self._changed(stored)
        return response

    def _request(self, method: Callable[..., Any], stored: StoredObject, **options: str) -> Any:
        from botocore.exceptions import ClientError

        try:
            return method(Bucket=self._address.bucket, Key=stored.full_key, **options)
        except ClientError as error:
            if status_of(error) in (404, 416):
                raise self._changed(stored) from None
            raise

    def _changed(self, stored: StoredObject) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._address}: {stored.key!r} was changed or removed while it was fetched. "
            "Run it again."
        )

    def _copy(self, response: Any, growing: Path) -> None:
        # A server may ignore the range and send all.
        mode = "ab" if "ContentRange" in response else "wb"
        with closing(response["Body"]) as body, growing.open(mode) as file:
            while piece := body.read(PIECE):
                self._stop_if_asked()
                file.write(piece)

    def _stop_if_asked(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _is_whole(self, path: Path, stored: StoredObject) -> bool:
        if path.stat().st_size != stored.size:
            return False
        if has_etag(path, stored.etag):
            return True
        facts = self._request(self._client.head_object, stored, ChecksumMode="ENABLED")
        sha256 = facts.get("ChecksumSHA256", "-")
        if "-" not in sha256:  # which would be a checksum of checksums
            return base64.b64decode(sha256).hex() == digest_of_file(path)
        # With the keys of a service, the ETag is that of bytes that only the storage sees.
        is_encrypted = facts.get("ServerSideEncryption", "").startswith("aws:")
        if is_md5(stored.etag) and not is_encrypted:
            return False
        self.unverified.append(stored.key)
        return True
