"""Small objects in a folder of a bucket: written, listed and read whole."""

from __future__ import annotations

import base64
import hashlib
from functools import cached_property
from typing import Any

from cracks.storage.addresses import Address
from cracks.storage.client import connect, explaining, status_of


class ObjectFolder:
    """The objects below an address.

    All methods may be called by many threads, and raise:
        SourceError: the bucket does not exist, or the credentials do not open it.
        SourceUnavailable: the storage does not answer, or refuses for now.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    @cached_property
    def _client(self) -> Any:
        return connect()

    def folders(self) -> list[str]:
        """Return the names of the folders directly below, sorted."""
        start = self.address.folder
        with explaining(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=start, Delimiter="/"
            )
            found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", [])]
        return sorted(prefix[len(start) : -1] for prefix in found)

    def keys(self, beginning: str) -> list[str]:
        """Return the keys, below the address, that begin so; sorted."""
        start = self.address.folder
        with explaining(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=start + beginning
            )
            return sorted(
                entry["Key"][len(start) :] for page in pages for entry in page.get("Contents", [])
            )

    def write(self, key: str, content: bytes) -> None:
        """Store an object; the storage compares it with its checksum."""
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        with explaining(self.address):
            self._client.put_object(
                Bucket=self.address.bucket,
                Key=self.address.folder + key,
                Body=content,
                ContentMD5=base64.b64encode(digest).decode(),
            )

    def has(self, key: str) -> bool:
        """Return whether there is an object of this key."""
        from botocore.exceptions import ClientError

        with explaining(self.address):
            try:
                self._client.head_object(Bucket=self.address.bucket, Key=self.address.folder + key)
                return True
            except ClientError as error:
                if status_of(error) != 404:
                    raise
        return False

    def remove(self, key: str) -> None:
        """Remove an object, if there is one."""
        with explaining(self.address):
            self._client.delete_object(Bucket=self.address.bucket, Key=self.address.folder + key)

    def read(self, key: str) -> bytes:
        """Return the content of an object.

        Raises:
            FileNotFoundError: there is none; besides the errors of all methods.
        """
        from botocore.exceptions import ClientError

        with explaining(self.address):
            try:
                answer = self._client.get_object(
                    Bucket=self.address.bucket, Key=self.address.folder + key
                )
                return bytes(answer["Body"].read())
            except ClientError as error:
                gone = status_of(error) == 404 and "NoSuchKey" in str(error)
                if not gone:
                    raise
        raise FileNotFoundError(f"{self.address.folder}{key}")
