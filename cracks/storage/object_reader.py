"""Objects read straight into memory, for whoever needs each of them once."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from cracks.errors import SourceUnavailable
from cracks.storage.addresses import Address, StoredObject
from cracks.storage.client import connect, explaining, one_line
from cracks.storage.downloads import BREAKS


class ObjectReader:
    """Reads objects below an address; many threads may use it."""

    def __init__(self, address: Address) -> None:
        """Connect to the storage.

        Raises:
            SourceError: its address is none.
        """
        self._address = address
        with explaining(address):
            self._client = connect()

    def read(self, stored: StoredObject) -> bytes:
        """Return the content of an object.

        Raises:
            SourceError: it is gone, or the credentials do not open it.
            SourceUnavailable: the storage does not answer, or breaks off again and again.
        """
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        reason = ""
        with explaining(self._address):
            for _ in range(BREAKS):
                answer = self._client.get_object(Bucket=self._address.bucket, Key=stored.full_key)
                try:
                    return _whole(answer)
                except (BotoCoreError, HTTPError, EOFError) as error:
                    reason = one_line(error)
        raise SourceUnavailable(
            f"{self._address}: {stored.key!r} breaks off again and again ({reason}). "
            "Run it again; it goes on where it was."
        )


def _whole(answer: Any) -> bytes:
    with closing(answer["Body"]) as body:
        content: bytes = body.read()
    if len(content) != answer["ContentLength"]:
        raise EOFError(f"{len(content):,} of {answer['ContentLength']:,} bytes")
    return content
