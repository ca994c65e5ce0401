"""Ask servers over HTTP: repeat what may pass, and say in our words what stays refused."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cracks.errors import StorageError, StorageUnavailable, one_line

# requests is imported where it is used: it takes longer than all that is needed without network.
if TYPE_CHECKING:
    from requests import Response, Session

#: The name that servers know us by.
USER_AGENT = "concrete-crack-mlops"

#: Seconds to wait for a connection, and for the next byte of a response.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0

#: How often a request is repeated that failed, and a transfer that broke without any gain.
RETRIES = 6

#: Seconds of the first pause between two tries; each further one is twice as long.
FIRST_PAUSE = 1.0
#: No pause is longer, whatever a server asks for in Retry-After.
LONGEST_PAUSE = 120

#: Responses that may be others a little later.
PASSING_STATUS = frozenset({429, 500, 502, 503, 504})

#: The most bytes that are read at once.
BLOCK = 1 << 18
#: The most bytes of a response that is held in memory.
LONGEST_JSON = 10_000_000


#: A pause of so many seconds is announced.
WORTH_TELLING = 1.0

logger = logging.getLogger(__name__)


class Broken(Exception):
    """A response ended early; the message is the reason."""


def read_json(url: str) -> Any:
    """Return what the JSON says that a server answers.

    Raises:
        StorageError: the response is no JSON, or there is none at `url`.
        StorageUnavailable: the server cannot be reached, or refuses or breaks off persistently.
    """
    try:
        with open_session() as session, get(session, url) as response:
            require_ok(response, url)
            content = b"".join(blocks(response, LONGEST_JSON))
    except Broken as broken:
        raise StorageUnavailable(f"{url} broke off ({broken}). Try again later.") from None
    try:
        return json.loads(content)
    except ValueError:
        kind = response.headers.get("Content-Type", "something else")
        raise StorageError(
            f"{url} answers with {kind} instead of JSON. Open it in a browser to see why."
        ) from None


def open_session() -> Session:
    """Return a session that repeats what fails before a response begins."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import BaseHTTPResponse, Retry

    class Announced(Retry):
        """Tells the user why nothing happens for a while."""

        def sleep(self, response: BaseHTTPResponse | None = None) -> None:
            asked = self.get_retry_after(response) if response else None
            seconds = asked or self.get_backoff_time()
            if seconds >= WORTH_TELLING:
                logger.warning("  no answer yet; trying again in %.0f s", seconds)
            super().sleep(response)

    retry = Announced(
        total=RETRIES,
        other=0,  # a refused certificate stays refused
        status_forcelist=PASSING_STATUS,
        raise_on_status=False,
        backoff_factor=FIRST_PAUSE,
        backoff_max=LONGEST_PAUSE,
        retry_after_max=LONGEST_PAUSE,
    )
    session = requests.Session()
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": USER_AGENT})
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def get(session: Session, url: str, start: int = 0) -> Response:
    """Return the response to a request for `url` from byte `start` on, its body still to be read.

    Raises:
        StorageError: the address cannot be used.
        StorageUnavailable: there is no response, or one that may be another later.
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
        reason = one_line(error).rstrip(".")
        raise StorageError(f"{url} cannot be fetched: {reason}. Correct the address.") from None
    except exceptions.RequestException as error:
        raise _no_response(url, error) from None
    if response.status_code in PASSING_STATUS:
        response.close()
        raise StorageUnavailable(
            f"{url} still answers {_status(response)} after {RETRIES + 1} tries. Try again later."
        )
    return response


def _no_response(url: str, error: Exception) -> StorageError:
    if isinstance(_root(error), ssl.SSLCertVerificationError):
        return StorageError(
            f"{url} shows a certificate that is not trusted ({_root(error)}). If a proxy of your "
            "network signs, set REQUESTS_CA_BUNDLE to the file with its certificate."
        )
    return StorageUnavailable(
        f"{url} gives no answer ({one_line(_root(error))}). Check the network, or try again later."
    )


def require_ok(response: Response, url: str) -> None:
    """Refuse every other status.

    Raises:
        StorageError: there is no such file, or it is not for us.
    """
    if response.status_code != 200:
        raise StorageError(
            f"{url} answers {_status(response)}. Open it in a browser to see why; the file may "
            "have moved."
        )


def _status(response: Response) -> str:
    return f"{response.status_code} {response.reason or ''}".strip()


def blocks(response: Response, limit: int) -> Iterator[bytes]:
    """Yield the body as it arrives, at most `limit` bytes of it.

    Raises:
        Broken: it ended before its announced end.
    """
    from urllib3.exceptions import HTTPError

    while limit > 0:
        try:
            # Not iter_content, which waits for a whole block and loses it if the connection breaks.
            block = response.raw.read1(min(BLOCK, limit), decode_content=False)
        except HTTPError as error:
            raise Broken(one_line(_root(error))) from None
        if not block:
            return
        limit -= len(block)
        yield block


def _root(error: BaseException) -> BaseException:
    """Return what the libraries wrap several times."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return error
