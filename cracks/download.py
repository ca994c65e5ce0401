"""Fetch files over HTTP so that a broken connection costs nothing: resumed, retried, verified.

    .photos.rar.partial    what has come so far; it outlives a failure and is resumed at its end
    photos.rar             appears in one move, once its size and SHA-256 are right

Only one process may fetch to the same place at a time.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cracks.digests import digest_of_file
from cracks.errors import SourceError, SourceUnavailable
from cracks.progress import Advance, progress

# requests is imported where it is used: it takes longer than all that is needed without network.
if TYPE_CHECKING:
    from requests import Response, Session

#: Seconds to wait for a connection, and for the next byte of an answer.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0

#: How often a request is repeated that failed, and a transfer that broke without any gain.
RETRIES = 6

#: Seconds of the first pause between two tries; each further one is twice as long.
FIRST_PAUSE = 1.0
#: No pause is longer, whatever a server asks for in Retry-After.
LONGEST_PAUSE = 120

#: Answers that may be others a little later.
PASSING_STATUS = frozenset({429, 500, 502, 503, 504})

#: The most bytes that are read at once.
BLOCK = 1 << 18
#: The most bytes of an answer that is held in memory.
LONGEST_JSON = 10_000_000


class _Broken(Exception):
    """An answer ended early; the message is the reason."""


def download(url: str, target: Path, *, size: int, sha256: str, description: str) -> None:
    """Fetch `url` to `target`, unless it lies there already; go on with what an earlier call left.

    Args:
        url: where the file is; redirects to other hosts are followed.
        target: where it must lie in the end; its folder is made.
        size: how many bytes it has.
        sha256: its digest, 64 hexadecimal digits in small letters.
        description: says to a person what is being fetched.

    Raises:
        SourceError: the server has no such file, or another one, or there is no room for it.
        SourceUnavailable: the server cannot be reached, or refuses or breaks off persistently.
    """
    try:
        if not is_whole(target, size, sha256):
            target.parent.mkdir(parents=True, exist_ok=True)
            _Transfer(url, target, size, description).fetch(sha256)
    except OSError as error:
        raise SourceError(
            f"{target} cannot be written: {error.strerror or error}. "
            "Make room or give permission there, then try again."
        ) from None


def read_json(url: str) -> Any:
    """Return what the JSON says that a server answers.

    Raises:
        SourceError: the answer is no JSON, or there is none at `url`.
        SourceUnavailable: the server cannot be reached, or refuses or breaks off persistently.
    """
    try:
        with _session() as session, _answer(session, url) as response:
            _require_ok(response, url)
            content = b"".join(_blocks(response, LONGEST_JSON))
    except _Broken as broken:
        raise SourceUnavailable(f"{url} broke off ({broken}). Try again later.") from None
    try:
        return json.loads(content)
    except ValueError:
        kind = response.headers.get("Content-Type", "something else")
        raise SourceError(
            f"{url} answers with {kind} instead of JSON. Open it in a browser to see why."
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
        #: Whether what is there was put together from several answers, maybe of several files.
        self._pieced = False

    def fetch(self, sha256: str) -> None:
        """Fetch what is missing, compare the digest, and move the file to its place."""
        self._complete()
        if self._pieced and digest_of_file(self._partial) != sha256:
            self._partial.unlink()
            self._complete()
        self._require_digest(sha256)
        self._partial.replace(self._target)

    def _complete(self) -> None:
        """Append to the partial file until it has the expected size."""
        self._require_room()
        self._pieced = self._have() > 0
        total = _megabytes(self._size)
        with progress(total, self._description, "MB") as advance, _session() as session:
            self._fetch_parts(session, _Shown(advance))
        self._partial.touch()  # an empty file needs no answer

    def _fetch_parts(self, session: Session, shown: _Shown) -> None:
        shown.bring_to(self._have())
        failures = furthest = 0
        while self._have() < self._size:
            try:
                self._fetch_part(session, shown)
            except _Broken as broken:
                failures = 1 if self._have() > furthest else failures + 1
                # The furthest, not the last: a server that always starts again gains nothing.
                furthest = max(furthest, self._have())
                if failures > RETRIES:
                    raise self._given_up(broken) from None
                time.sleep(min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE))

    def _fetch_part(self, session: Session, shown: _Shown) -> None:
        """Write one answer to the partial file.

        Raises:
            _Broken: it ended before the file did.
        """
        have = self._have()
        with _answer(session, self._url, have) as response:
            start = self._start_of(response, have)
            self._pieced = start > 0
            shown.bring_to(start)
            with self._partial.open("ab" if start else "wb") as file:
                for block in _blocks(response, self._size - start):
                    file.write(block)
                    file.flush()  # what has come must outlive a killed process
                    shown.bring_to(file.tell())
        if self._have() < self._size:
            raise _Broken("the answer is shorter than the file")

    def _start_of(self, response: Response, have: int) -> int:
        """Return the place in the file where the body of an answer begins.

        Raises:
            SourceError: the answer is not this file.
            _Broken: the answer does not fit what is there, which was removed therefore.
        """
        if response.status_code == 206 and self._continues(response, have):
            return have
        if have and response.status_code in (206, 416):
            self._partial.unlink()
            raise _Broken("the server could not go on where the last answer ended")
        _require_ok(response, self._url)
        self._require_file(response)
        return 0

    def _continues(self, response: Response, have: int) -> bool:
        said = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said.strip())
        if not found:
            return False
        return int(found[1]) == have and found[2] in (str(self._size), "*")

    def _require_file(self, response: Response) -> None:
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise SourceError(
                f"{self._url} answers with a page instead of a file. Open it in a browser to see "
                "what it says; a network that asks for a login is a common cause."
            )
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) != self._size:
            raise SourceError(
                f"{self._url} has {int(announced):,} bytes instead of {self._size:,}: it is "
                "another file than the one described. Nothing of it was fetched."
            )

    def _require_room(self) -> None:
        missing = self._size - self._have()
        free = shutil.disk_usage(self._partial.parent).free
        if free < missing:
            raise SourceError(
                f"{self._target} does not fit: {_megabytes(missing):,} MB are still to come, but "
                f"{free // 1_000_000:,} MB are free there. Make room, then try again."
            )

    def _require_digest(self, sha256: str) -> None:
        found = digest_of_file(self._partial)
        if found != sha256:
            self._partial.unlink()
            raise SourceError(
                f"{self._url} sent a file with the SHA-256 {found} instead of {sha256}. It was "
                "thrown away; try again, and take the file from elsewhere if this goes on."
            )

    def _given_up(self, broken: _Broken) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._url} breaks off again and again ({broken}). {self._have():,} of "
            f"{self._size:,} bytes are kept; try again later to go on from there."
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


def _session() -> Session:
    """Return a session that repeats what fails before an answer begins."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    retry = Retry(
        total=RETRIES,
        other=0,  # a refused certificate stays refused
        status_forcelist=PASSING_STATUS,
        raise_on_status=False,
        backoff_factor=FIRST_PAUSE,
        backoff_max=LONGEST_PAUSE,
        retry_after_max=LONGEST_PAUSE,
    )
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _answer(session: Session, url: str, start: int = 0) -> Response:
    """Return the answer to a request for `url` from byte `start` on, its body still to be read.

    Raises:
        SourceError: the address cannot be used.
        SourceUnavailable: there is no answer, or one that may be another later.
    """
    from requests import exceptions

    wanted = {"Range": f"bytes={start}-"} if start else {}
    timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
    try:
        response = session.get(url, headers=wanted, stream=True, timeout=timeout)
    except (
        exceptions.InvalidSchema,
        exceptions.InvalidURL,
        exceptions.MissingSchema,
        exceptions.TooManyRedirects,
    ) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise SourceError(f"{url} cannot be fetched: {reason}. Correct the address.") from None
    except exceptions.RequestException as error:
        raise _unanswered(url, error) from None
    if response.status_code in PASSING_STATUS:
        response.close()
        raise SourceUnavailable(
            f"{url} still answers {_status(response)} after {RETRIES + 1} tries. Try again later."
        )
    return response


def _unanswered(url: str, error: Exception) -> SourceError:
    if isinstance(_root(error), ssl.SSLCertVerificationError):
        return SourceError(
            f"{url} shows a certificate that is not trusted ({_root(error)}). If a proxy of your "
            "network signs, set REQUESTS_CA_BUNDLE to the file with its certificate."
        )
    return SourceUnavailable(
        f"{url} gives no answer ({_reason(error)}). Check the network, or try again later."
    )


def _require_ok(response: Response, url: str) -> None:
    if response.status_code != 200:
        raise SourceError(
            f"{url} answers {_status(response)}. Open it in a browser to see why; the file may "
            "have moved."
        )


def _status(response: Response) -> str:
    return f"{response.status_code} {response.reason or ''}".strip()


def _blocks(response: Response, limit: int) -> Iterator[bytes]:
    """Yield the body as it arrives, at most `limit` bytes of it.

    Raises:
        _Broken: it ended before its announced end.
    """
    from urllib3.exceptions import HTTPError

    while limit > 0:
        try:
            # Not iter_content, which waits for a whole block and loses it if the connection breaks.
            block = response.raw.read1(min(BLOCK, limit), decode_content=False)
        except HTTPError as error:
            raise _Broken(_reason(error)) from None
        if not block:
            return
        limit -= len(block)
        yield block


def _reason(error: BaseException) -> str:
    """Return in one line what the libraries wrap several times."""
    root = _root(error)
    return " ".join(str(root).split()) or type(root).__name__


def _root(error: BaseException) -> BaseException:
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return error
