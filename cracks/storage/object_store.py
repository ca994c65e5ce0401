"""Objects by key, in a folder or below a prefix in a bucket; who uses them need not know which."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar

from cracks.errors import StorageUnavailable, one_line
from cracks.storage.addresses import Address, is_in_bucket, parse_address
from cracks.storage.client import (
    BREAKS,
    connect,
    explaining,
    is_missing_object,
    object_entries,
    pages,
    require_boto3,
)
from cracks.system.atomic_files import atomic_replace

#: How often a store that retries asks, and seconds of the first and of the longest pause.
RETRY_ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE = 8, 1.0, 30.0

Result = TypeVar("Result")


class ObjectStore(ABC):
    """Objects by their keys, which have `/` between folders. Many threads may use it.

    All methods may raise:
        OSError: the folder cannot be read or written.
        StorageError: the bucket does not exist, or the credentials do not open it.
        StorageUnavailable: the storage does not respond, or refuses for now.
    """

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where it is, as a URI without a slash at its end."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Return the names of the folders directly below, sorted; none where there is nothing."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each object whose key begins so, by key; sorted."""

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that begin so, sorted."""
        return list(self.sizes(prefix))

    @abstractmethod
    def has(self, key: str) -> bool:
        """Return whether there is an object of this key."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the content of an object, all of it.

        Raises:
            FileNotFoundError: there is none; besides the errors of all methods.
        """

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """Return an object to be read; one in a folder also if it is removed meanwhile.

        Raises:
            FileNotFoundError: there is none; of a bucket, this is found out when it is first read.
        """

    @abstractmethod
    def local(self, key: str) -> AbstractContextManager[Path]:
        """Return a context that has a local file with the content, of any size.

        Raises:
            FileNotFoundError: there is none; besides the errors of all methods.
        """

    @abstractmethod
    def write(self, key: str, content: bytes) -> None:
        """Store an object, whole or not at all, also if another process writes it now."""

    @abstractmethod
    def write_file(self, key: str, file: Path, *, private: bool = False) -> None:
        """Store a file of any size, whole or not at all; one process at a time.

        In a folder, `private` lets its owner alone read it.
        """

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an object, if there is one."""


def is_visible(key: str) -> bool:
    """Return whether the name of a file does not begin with a dot, as of one half written."""
    return not key.rpartition("/")[2].startswith(".")


def open_store(
    place: str | Path,
    *,
    endpoint_url: str | None = None,
    wanted: Callable[[str], bool] = is_visible,
    retry: bool = False,
) -> ObjectStore:
    """Return the objects at a place; nothing is read yet.

    Args:
        place: a folder, or `s3://bucket/prefix`.
        endpoint_url: of the bucket, if it is another one than AWS_ENDPOINT_URL names.
        wanted: whether a file of a folder is one of the objects, by its key.
        retry: whether a bucket is asked again, for minutes, where the failure is transient.

    Raises:
        StorageError: the address of the bucket is none, or boto3 is not installed.
    """
    if is_in_bucket(place):
        return BucketStore(parse_address(str(place)), endpoint_url, retry=retry)
    return FolderStore(Path(place), wanted)


def retry_pause(attempt: int) -> float:
    """Return the seconds to wait after so many attempts."""
    return float(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))


# --- a folder -------------------------------------------------------------------------------------


class FolderStore(ObjectStore):
    """The files below a folder; one whose key is not `wanted` is never listed."""

    def __init__(self, root: Path, wanted: Callable[[str], bool] = is_visible) -> None:
        self.root, self._wanted = root, wanted

    @property
    def origin(self) -> str:
        """See `ObjectStore`."""
        return self.root.resolve().as_uri().rstrip("/")

    def folders(self) -> list[str]:
        """See `ObjectStore`."""
        try:
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        except FileNotFoundError:
            return []

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """See `ObjectStore`."""
        found = {}
        for key in self.keys(prefix):
            with suppress(FileNotFoundError):  # removed meanwhile, or a link to nowhere
                facts = (self.root / key).stat()
                if stat.S_ISREG(facts.st_mode):
                    found[key] = facts.st_size
        return found

    def keys(self, prefix: str = "") -> list[str]:
        """See `ObjectStore`."""
        # Names only: one that is replaced by another before it is looked at must not be left out
        # where the other had not come yet. Whoever opens it finds out, and lists again.
        found = []
        start = self.root / prefix.rpartition("/")[0]
        for folder, _, names in os.walk(start, onerror=_raise_unless_absent):
            below = "" if Path(folder) == self.root else f"{os.path.relpath(folder, self.root)}/"
            found += [key for name in names if (key := below + name).startswith(prefix)]
        return sorted(filter(self._wanted, found))

    def has(self, key: str) -> bool:
        """See `ObjectStore`."""
        return (self.root / key).is_file()

    def read(self, key: str) -> bytes:
        """See `ObjectStore`."""
        return (self.root / key).read_bytes()

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore`."""
        return (self.root / key).open("rb")

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """See `ObjectStore`."""
        if not self.has(key):
            raise _missing(self.root / key)
        yield self.root / key

    def write(self, key: str, content: bytes) -> None:
        """See `ObjectStore`."""
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
        try:
            partial.write_bytes(content)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def write_file(self, key: str, file: Path, *, private: bool = False) -> None:
        """See `ObjectStore`."""
        with atomic_replace(self.root / key) as partial:
            partial.touch(0o600 if private else 0o666)
            shutil.copyfile(file, partial)

    def remove(self, key: str) -> None:
        """See `ObjectStore`."""
        (self.root / key).unlink(missing_ok=True)


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _missing(name: str | Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(name))


# --- a bucket -------------------------------------------------------------------------------------


class BucketStore(ObjectStore):
    """The objects below an address."""

    def __init__(
        self, address: Address, endpoint_url: str | None = None, *, retry: bool = False
    ) -> None:
        """Connect to nothing yet: this process may still be forked.

        Raises:
            StorageError: boto3 is not installed.
        """
        require_boto3(address)
        self.address, self._endpoint_url = address, endpoint_url
        self._attempts = RETRY_ATTEMPTS if retry else 1

    @cached_property
    def _client(self) -> Any:
        return connect(self._endpoint_url)

    @property
    def origin(self) -> str:
        """See `ObjectStore`."""
        return str(self.address).rstrip("/")

    def folders(self) -> list[str]:
        """See `ObjectStore`."""
        bucket, start = self.address.bucket, self.address.folder

        def prefixes(client: Any) -> list[str]:
            found = pages(client, bucket, start, Delimiter="/")
            return [one["Prefix"] for page in found for one in page.get("CommonPrefixes", [])]

        return sorted(prefix[len(start) : -1] for prefix in self._send(prefixes))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """See `ObjectStore`."""
        bucket, start = self.address.bucket, self.address.folder

        def sizes(client: Any) -> dict[str, int]:
            found = object_entries(client, bucket, start + prefix)
            return {entry["Key"][len(start) :]: entry["Size"] for entry in found}

        return dict(sorted(self._send(sizes).items()))

    def has(self, key: str) -> bool:
        """See `ObjectStore`."""
        try:
            self._send(lambda client: client.head_object(**self._named(key)), key)
        except FileNotFoundError:
            return False
        return True

    def read(self, key: str) -> bytes:
        """See `ObjectStore`; what breaks off is read again from its beginning."""
        return self._send(lambda client: self._read(client, key), key)

    def _read(self, client: Any, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        reason = ""
        for _ in range(BREAKS):
            response = client.get_object(**self._named(key))
            try:
                return _whole(response)
            except (BotoCoreError, HTTPError, EOFError) as error:
                reason = one_line(error)
        raise StorageUnavailable(
            f"{self.address}: {key!r} breaks off again and again ({reason}). Run it again."
        )

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore`."""
        return _LateObject(lambda: self.read(key))

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """See `ObjectStore`."""
        with TemporaryDirectory(prefix="cracks-object-") as folder:
            file = Path(folder) / "object"
            self._send(
                lambda client: client.download_file(**self._named(key), Filename=str(file)), key
            )
            yield file

    def write(self, key: str, content: bytes) -> None:
        """See `ObjectStore`; the storage compares the object with its checksum."""
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        checked = {"Body": content, "ContentMD5": base64.b64encode(digest).decode()}
        self._send(lambda client: client.put_object(**self._named(key), **checked))

    def write_file(
        self,
        key: str,
        file: Path,
        *,
        private: bool = False,  # noqa: ARG002 - who may read a bucket is said of the whole bucket
    ) -> None:
        """See `ObjectStore`."""
        from boto3.exceptions import S3UploadFailedError

        def upload(client: Any) -> None:
            try:
                client.upload_file(str(file), **self._named(key))
            except S3UploadFailedError as error:
                # boto3 hides what the storage has said, which `explaining` knows.
                raise (error.__context__ or error) from None

        self._send(upload)

    def remove(self, key: str) -> None:
        """See `ObjectStore`."""
        with suppress(FileNotFoundError):  # most storage says nothing of it
            self._send(lambda client: client.delete_object(**self._named(key)), key)

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self.address.folder + key}

    def _send(self, request: Callable[[Any], Result], key: str = "") -> Result:
        """Return the response to a request; retried, if so wanted, after a transient failure."""
        for attempt in range(1, self._attempts):
            try:
                return self._send_once(request, key)
            except StorageUnavailable:
                time.sleep(retry_pause(attempt))
        return self._send_once(request, key)

    def _send_once(self, request: Callable[[Any], Result], key: str) -> Result:
        from botocore.exceptions import ClientError

        with explaining(self.address):
            try:
                return request(self._client)
            except ClientError as error:
                if not is_missing_object(error):
                    raise
        # Here, since `explaining` takes an OSError for one of a folder.
        raise _missing(f"{self.origin}/{key}")


def _whole(response: Any) -> bytes:
    with closing(response["Body"]) as body:
        content: bytes = body.read()
    if len(content) != response["ContentLength"]:
        raise EOFError(f"{len(content):,} of {response['ContentLength']:,} bytes")
    return content


class _LateObject(io.BytesIO):
    """The content of an object, fetched when it is first looked at."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self._fetch: Callable[[], bytes] | None = fetch

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._load()
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        self._load()
        return super().read(size)

    def _load(self) -> None:
        if self._fetch:
            fetch, self._fetch = self._fetch, None
            self.write(fetch())
            super().seek(0)
