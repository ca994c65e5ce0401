"""Fetch files over HTTP so that a broken connection costs nothing: resumed, retried, verified.

    .photos.rar.partial    what has come so far; it outlives a failure and is resumed at its end
    photos.rar             appears in one move, once its size and SHA-256 are right

Only one process may fetch to the same place at a time.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cracks.errors import StorageError, StorageUnavailable
from cracks.storage import http_client as web
from cracks.system.console import Advance, progress
from cracks.system.hashing import digest_of_file

if TYPE_CHECKING:
    from requests import Response, Session


def download(url: str, target: Path, *, size: int, sha256: str, description: str) -> None:
    """Fetch `url` to `target`, unless it lies there already; resume what an earlier call left.

    The folder of `target` is made, redirects to other hosts are followed, and `description` says
    to a person what is being fetched.

    Raises:
        StorageError: the server has no such file, or another one, or there is no room for it.
        StorageUnavailable: the server cannot be reached, or refuses or breaks off persistently.
    """
    try:
        if not is_whole(target, size, sha256):
            target.parent.mkdir(parents=True, exist_ok=True)
            _Transfer(url, target, size, description).fetch(sha256)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}. "
            "Make room or give permission there, then try again."
        ) from None


def is_whole(path: Path, size: int, sha256: str) -> bool:
    """Return whether `path` is a file of that size and digest.

    Raises:
        OSError: the file cannot be read.
    """
    return path.is_file() and path.stat().st_size == size and digest_of_file(path) == sha256


class _Transfer:
    """One file on its way from `url` to the partial file beside `target`."""

    def __init__(self, url: str, target: Path, size: int, description: str) -> None:
        self._url, self._target, self._size = url, target, size
        self._description = description
        self._partial = target.with_name(f".{target.name}.partial")
        #: Whether what is there was put together from several responses, maybe of several files.
        self._pieced = False

    def fetch(self, sha256: str) -> None:
        """Fetch what is missing, compare the digest, and move the file to its place."""
        self._complete()
        found = digest_of_file(self._partial)
        if found != sha256 and self._pieced:
            self._partial.unlink()
            self._complete()
            found = digest_of_file(self._partial)
        if found != sha256:
            self._partial.unlink()
            raise StorageError(
                f"{self._url} sent a file with the SHA-256 {found} instead of {sha256}. It was "
                "thrown away; try again, and take the file from elsewhere if this happens again."
            )
        self._partial.replace(self._target)

    def _complete(self) -> None:
        """Append to the partial file until it has the expected size."""
        self._require_room()
        self._pieced = self._have() > 0
        total = _megabytes(self._size)
        with progress(total, self._description, "MB") as advance, web.open_session() as session:
            self._fetch_parts(session, _Shown(advance))
        self._partial.touch()  # an empty file needs no response

    def _fetch_parts(self, session: Session, shown: _Shown) -> None:
        shown.bring_to(self._have())
        failures = furthest = 0
        while self._have() < self._size:
            try:
                self._fetch_part(session, shown)
            except web.Broken as broken:
                failures = 1 if self._have() > furthest else failures + 1
                # The furthest, not the last: a server that always starts again gains nothing.
                furthest = max(furthest, self._have())
                if failures > web.RETRIES:
                    raise StorageUnavailable(
                        f"{self._url} breaks off again and again ({broken}). {self._have():,} of "
                        f"{self._size:,} bytes are kept; try again later to resume there."
                    ) from None
                time.sleep(min(web.FIRST_PAUSE * 2 ** (failures - 1), web.LONGEST_PAUSE))

    def _fetch_part(self, session: Session, shown: _Shown) -> None:
        """Write one response to the partial file.

        Raises:
            Broken: it ended before the file did.
        """
        have = self._have()
        with web.get(session, self._url, have) as response:
            start = self._start_of(response, have)
            self._pieced = start > 0
            shown.bring_to(start)
            with self._partial.open("ab" if start else "wb") as file:
                for block in web.blocks(response, self._size - start):
                    file.write(block)
                    file.flush()  # what has come must outlive a killed process
                    shown.bring_to(file.tell())
        if self._have() < self._size:
            raise web.Broken("the response is shorter than the file")

    def _start_of(self, response: Response, have: int) -> int:
        """Return the place in the file where the body of a response begins.

        Raises:
            StorageError: the response is not this file.
            Broken: the response does not fit what is there, which was removed therefore.
        """
        if response.status_code == 206 and self._continues(response, have):
            return have
        if have and response.status_code in (206, 416):
            self._partial.unlink()
            raise web.Broken("the server could not resume where the last response ended")
        web.require_ok(response, self._url)
        self._require_file(response)
        return 0

    def _continues(self, response: Response, have: int) -> bool:
        said = response.headers.get("Content-Range", "").strip()
        return said.startswith(f"bytes {have}-") and said.endswith((f"/{self._size}", "/*"))

    def _require_file(self, response: Response) -> None:
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise StorageError(
                f"{self._url} answers with a page instead of a file. Open it in a browser to see "
                "what it says; a network that asks for a login is a common cause."
            )
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) != self._size:
            raise StorageError(
                f"{self._url} has {int(announced):,} bytes instead of {self._size:,}: it is "
                "another file than the one described. Nothing of it was fetched."
            )

    def _require_room(self) -> None:
        missing = self._size - self._have()
        free = shutil.disk_usage(self._partial.parent).free
        if free < missing:
            raise StorageError(
                f"{self._target} does not fit: {_megabytes(missing):,} MB are still to come, but "
                f"{free // 1_000_000:,} MB are free there. Make room, then try again."
            )

    def _have(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0


class _Shown:
    """How far the transfer has come, in MB as a person sees it."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._megabytes = advance, 0

    def bring_to(self, size: int) -> None:
        """Show that `size` bytes are there; this may be fewer than before."""
        if gain := _megabytes(size) - self._megabytes:
            self._megabytes += gain
            self._advance(gain)


def _megabytes(size: int) -> int:
    """Round up, so that a file is shown as complete when it is."""
    return -(-size // 1_000_000)
