"""Objects in S3-compatible storage (boto3): list a prefix, keep a local mirror of it.

Endpoint, region and credentials are boto3's own settings: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_PROFILE` and so on. With an endpoint of one's own, boto3 puts the bucket into the path.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from cracks.digests import digest_of_file, digest_of_value
from cracks.errors import SourceError, SourceUnavailable
from cracks.outputs import remove, write_text
from cracks.progress import progress

logger = logging.getLogger(__name__)

#: Objects that are downloaded at a time.
THREADS = 16

#: How often botocore sends a request before it gives up.
ATTEMPTS = 5

#: How often a body may break off in a row without a single byte having come.
BREAKS = 3

#: Seconds to wait for a connection, and for the next bytes of an answer.
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 30

#: Bytes that are read at a time.
PIECE = 1 << 20

MEBIBYTE = 1 << 20

#: Sizes of parts that clients upload with; the ETag of an upload in parts depends on it.
PART_SIZES = (8, 5, 16, 15, 10, 20, 25, 32, 50, 64, 100, 128, 256, 512)

#: The folder in a mirror that holds its index and what is on its way.
OWN_FOLDER = ".mirror"

#: Bytes that a file system takes for one name.
LONGEST_NAME = 255

SCHEME = "s3://"

#: Answers that mean: these credentials, or none, do not open it.
DENIALS = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")

#: Answers that mean: not now.
NOT_NOW = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling")


@dataclass(frozen=True)
class Address:
    """A place in a bucket; `prefix` is a folder, with or without a last slash, or one object."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    @property
    def folder(self) -> str:
        """What the keys in the folder begin with."""
        return f"{self.prefix.rstrip('/')}/" if self.prefix else ""


@dataclass(frozen=True)
class StoredObject:
    """One object: its key below the address, its size and ETag, and its whole key."""

    key: str
    size: int
    etag: str
    full_key: str


@dataclass(frozen=True)
class Mirror:
    """What a mirror holds, and what it took to bring it there.

    `unverified` are the keys of objects that could be compared by their size only.
    """

    objects: tuple[StoredObject, ...]
    downloaded: int
    removed: int
    unverified: tuple[str, ...]


def parse_address(text: str) -> Address:
    """Take `s3://bucket/prefix` apart; the prefix may be empty.

    Raises:
        SourceError: it is no such address.
    """
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if not text.startswith(SCHEME) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise SourceError(
            f"{text!r} is no address of objects. Write s3://BUCKET/PREFIX, for example "
            "s3://inspections/photographs; names of buckets are 3 to 63 of a-z, 0-9, `-` and `.`."
        )
    if prefix and {"", ".", ".."} & set(prefix.removesuffix("/").split("/")):
        raise SourceError(
            f"{text!r}: the prefix has an empty, `.` or `..` segment. Write it as "
            "s3://BUCKET/FOLDER/FOLDER."
        )
    return Address(bucket, prefix)


def list_objects(address: Address) -> list[StoredObject]:
    """Return the objects in the folder that `address` names, or the one object, sorted by key.

    Raises:
        SourceError: the bucket does not exist, or the credentials do not open it.
        SourceUnavailable: the storage does not answer, or refuses for now.
    """
    with _told(address):
        return _listed(_client(), address)


def digest_of_listing(objects: Iterable[StoredObject]) -> str:
    """Return 64 hexadecimal digits that change with any object's key, size or content."""
    return digest_of_value([(stored.key, stored.etag, stored.size) for stored in objects])


def mirror(address: Address, folder: Path, wanted: Callable[[str], bool]) -> Mirror:
    """Bring `folder` to the state of the objects below `address` whose key is `wanted`.

    Only what is missing or has changed is downloaded, and each object is compared with its
    checksum. What was killed at any moment goes on where it was. One process at a time.

    Raises:
        SourceError: the bucket does not exist, the credentials do not open it, an object cannot
            be kept as a file or does not have its checksum, or `folder` holds other files.
        SourceUnavailable: the storage does not answer, or something changed meanwhile.
    """
    with _told(address):
        client = _client()
        objects = [stored for stored in _listed(client, address) if wanted(stored.key)]
        _refuse_unsafe(objects, address)
        _require_own(folder)
        removed = _clear(folder, objects)
        present = _present(folder, objects)
        # What has changed is forgotten before anything is downloaded in its place.
        write_text(_index(folder), "".join(f"{line}\n" for line in present.values()))
        missing = [stored for stored in objects if stored.key not in present]
        _clear_partials(folder, missing)
        download = _Download(client, address, folder)
        if missing:
            _download_all(download, missing)
    _tell_of_unverified(address, download.unverified)
    unverified = tuple(sorted(download.unverified))
    return Mirror(tuple(objects), len(missing), removed, unverified)


def ensure_bucket(name: str, endpoint_url: str | None = None) -> bool:
    """Create the bucket if it is missing; return whether it was.

    Raises:
        SourceError: the storage refuses it.
        SourceUnavailable: the storage does not answer, or refuses for now.
    """
    from botocore.exceptions import ClientError

    address = parse_address(f"{SCHEME}{name}")
    with _told(address):
        client = _client(endpoint_url)
        try:
            client.head_bucket(Bucket=name)
        except ClientError as error:
            if _status(error) != 404:
                raise
        else:
            return False
        client.create_bucket(Bucket=name, **_place_of(client.meta.region_name))
        return True


def _place_of(region: str) -> dict[str, Any]:
    """Return how a bucket is placed: S3 takes the name of every region but that of the first."""
    if region in ("us-east-1", "aws-global"):
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _client(endpoint_url: str | None = None) -> Any:
    import boto3
    from botocore.config import Config

    settings = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=THREADS,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        # Not every compatible server knows the checksums that boto3 would add.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.Session().client("s3", endpoint_url=endpoint_url, config=settings)
    except ValueError as error:
        raise SourceError(
            f"{_one_line(error)}. Write AWS_ENDPOINT_URL as http://HOST:PORT or https://HOST."
        ) from None


# --- listing --------------------------------------------------------------------------------------


def _listed(client: Any, address: Address) -> list[StoredObject]:
    pages = client.get_paginator("list_objects_v2")
    found = [
        _stored(entry, len(address.folder))
        for page in pages.paginate(Bucket=address.bucket, Prefix=address.folder)
        for entry in page.get("Contents", [])
        if not entry["Key"].endswith("/")
    ]
    if not found and address.prefix and not address.prefix.endswith("/"):
        found = _single(client, address)
    return sorted(found, key=lambda stored: stored.key)


def _single(client: Any, address: Address) -> list[StoredObject]:
    """Return the object of exactly this key: of all that begin with it, it is listed first."""
    page = client.list_objects_v2(Bucket=address.bucket, Prefix=address.prefix)
    entries = [entry for entry in page.get("Contents", []) if entry["Key"] == address.prefix]
    return [_stored(entry, address.prefix.rfind("/") + 1) for entry in entries]


def _stored(entry: dict[str, Any], start: int) -> StoredObject:
    key = entry["Key"]
    return StoredObject(key[start:], entry["Size"], entry.get("ETag", "").strip('"'), key)


def _refuse_unsafe(objects: Sequence[StoredObject], address: Address) -> None:
    keys = {stored.key for stored in objects}
    for key in sorted(keys):
        if not _is_safe(key) or key.split("/")[0] == OWN_FOLDER:
            raise SourceError(
                f"{address} holds {key!r}, which cannot be the name of a local file. "
                "Rename that object; nothing was downloaded."
            )
        for end in re.finditer("/", key):
            if key[: end.start()] in keys:
                raise SourceError(
                    f"{address} holds {key[: end.start()]!r} both as an object and as a folder "
                    f"({key!r}). Rename one of them; nothing was downloaded."
                )


def _is_safe(key: str) -> bool:
    return not {"\\", "\0"} & set(key) and all(
        segment not in ("", ".", "..") and len(segment.encode()) <= LONGEST_NAME
        for segment in key.split("/")
    )


# --- the index: what of the folder is known to be whole -------------------------------------------


def _require_own(folder: Path) -> None:
    """Make the folder a mirror, unless somebody else's files would be lost in it."""
    if not (folder / OWN_FOLDER).is_dir() and folder.exists() and any(folder.iterdir()):
        raise SourceError(
            f"{folder} is no mirror of objects, but holds other files. Name an empty folder."
        )
    _partials(folder).mkdir(parents=True, exist_ok=True)


def _index(folder: Path) -> Path:
    return folder / OWN_FOLDER / "index.jsonl"


def _partials(folder: Path) -> Path:
    return folder / OWN_FOLDER / "partial"


def _present(folder: Path, objects: Sequence[StoredObject]) -> dict[str, str]:
    """Return the lines of the index, by key, of what the folder holds whole and untouched."""
    known = set(_read_index(folder))
    lines = ((stored.key, _line(folder, stored)) for stored in objects)
    return {key: line for key, line in lines if line in known}


def _read_index(folder: Path) -> list[str]:
    """Return the lines of the index; the last one may have been cut, and equals no other."""
    try:
        return _index(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _line(folder: Path, stored: StoredObject) -> str:
    """Return what the index says of an object whose file was left as it is now."""
    try:
        facts = (folder / stored.key).stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if facts.st_size != stored.size:
        return ""
    return json.dumps([stored.key, stored.etag, stored.size, facts.st_mtime_ns])


def _clear(folder: Path, objects: Sequence[StoredObject]) -> int:
    """Remove all that is not in the listing; return how many files that were."""
    kept = {folder / stored.key for stored in objects}
    own = folder / OWN_FOLDER
    removed = 0
    for path in sorted(folder.rglob("*"), reverse=True):
        if path == own or own in path.parents:
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept or path.is_symlink():
            path.unlink()
            removed += 1
    return removed


def _clear_partials(folder: Path, missing: Sequence[StoredObject]) -> None:
    expected = {_partial(folder, stored) for stored in missing}
    for path in _partials(folder).iterdir():
        if path not in expected:
            remove(path)


def _partial(folder: Path, stored: StoredObject) -> Path:
    """Return where an object grows; another content of the same key grows elsewhere."""
    return _partials(folder) / digest_of_value([stored.key, stored.etag, stored.size])


# --- downloading ----------------------------------------------------------------------------------


class _Stopped(Exception):
    """Another object has failed, or somebody has pressed Ctrl-C."""


class _Changed(Exception):
    """The object is no longer the one that was listed."""


class _Download:
    """Brings single objects into a folder; used by many threads at once."""

    def __init__(self, client: Any, address: Address, folder: Path) -> None:
        self.folder, self.unverified = folder, list[str]()
        self.stopping = threading.Event()
        self._client, self._address = client, address

    def __call__(self, stored: StoredObject) -> None:
        """Download one object, compare it, and move it to its place."""
        partial, target = _partial(self.folder, stored), self.folder / stored.key
        for _ in ("first", "once more"):
            self._complete(partial, stored)
            if self._is_whole(partial, stored):
                target.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(target)
                return
            partial.unlink()
        raise SourceError(
            f"{self._address}: {stored.key!r} does not have its checksum ({stored.etag}, "
            f"{stored.size:,} bytes), fetched twice. Upload that object again."
        )

    def _complete(self, partial: Path, stored: StoredObject) -> None:
        """Download what is not yet there; go on where it broke off as long as bytes come."""
        breaks = 0
        while (size := _size(partial)) < stored.size or not partial.exists():
            answer = self._ask(stored, size)
            try:
                self._copy(answer, partial)
                return
            except _broken_off() as error:
                breaks = breaks + 1 if _size(partial) <= size else 0
                if breaks == BREAKS:
                    raise SourceUnavailable(
                        f"{self._address}: {stored.key!r} breaks off again and again "
                        f"({_one_line(error)}). Run it again; it goes on where it was."
                    ) from None

    def _ask(self, stored: StoredObject, start: int) -> Any:
        """Begin to receive an object, from byte `start` on."""
        self._stop_if_asked()
        conditions = {"IfMatch": f'"{stored.etag}"'} if stored.etag else {}
        if start:
            conditions["Range"] = f"bytes={start}-"
        with _unless_changed(stored):
            answer = self._client.get_object(**self._name(stored), **conditions)
        # Not every server heeds the condition.
        if stored.etag and answer.get("ETag", "").strip('"') != stored.etag:
            answer["Body"].close()
            raise _Changed(stored.key)
        return answer

    def _name(self, stored: StoredObject) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": stored.full_key}

    def _copy(self, answer: Any, partial: Path) -> None:
        # A server may ignore the range and send all.
        mode = "ab" if "ContentRange" in answer else "wb"
        with closing(answer["Body"]) as body, partial.open(mode) as file:
            while piece := body.read(PIECE):
                self._stop_if_asked()
                file.write(piece)

    def _stop_if_asked(self) -> None:
        if self.stopping.is_set():
            raise _Stopped

    def _is_whole(self, path: Path, stored: StoredObject) -> bool:
        if path.stat().st_size != stored.size:
            return False
        if _has_etag(path, stored):
            return True
        with _unless_changed(stored):
            facts = self._client.head_object(**self._name(stored), ChecksumMode="ENABLED")
        sha256 = facts.get("ChecksumSHA256", "-")
        if "-" not in sha256:
            return base64.b64decode(sha256).hex() == digest_of_file(path)
        if _is_md5(stored.etag) and not _is_encrypted(facts):
            return False
        self.unverified.append(stored.key)
        return True


@contextmanager
def _unless_changed(stored: StoredObject) -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if _status(error) in (404, 412, 416):
            raise _Changed(stored.key) from None
        raise


def _broken_off() -> tuple[type[Exception], ...]:
    """Return what is raised when an answer ends too early, or stands still."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    return (HTTPClientError, IncompleteReadError, HTTPError)


def _download_all(download: _Download, missing: Sequence[StoredObject]) -> None:
    with (
        _index(download.folder).open("a", encoding="utf-8") as index,
        progress(len(missing), "downloading photographs", "objects") as advance,
        closing(_in_parallel(download, missing)) as arrived,
    ):
        for stored in arrived:
            _note(index, download.folder, stored)
            advance(1)


def _note(index: IO[str], folder: Path, stored: StoredObject) -> None:
    """Add an object to the index at once, so that a killed process has lost nothing."""
    index.write(f"{_line(folder, stored)}\n")
    index.flush()


def _in_parallel(
    download: _Download, objects: Sequence[StoredObject]
) -> Generator[StoredObject, None, None]:
    """Yield each object when it is there; end all threads at the first that fails.

    The threads are daemons: those of an executor would hold up Ctrl-C until a silent server's
    time is over.
    """
    todo, done = SimpleQueue[StoredObject](), SimpleQueue[StoredObject | BaseException]()
    for stored in objects:
        todo.put(stored)

    def work() -> None:
        try:
            while not download.stopping.is_set():
                stored = todo.get_nowait()
                download(stored)
                done.put(stored)
        except (Empty, _Stopped):
            pass
        except BaseException as error:
            done.put(error)

    threads = [
        threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, len(objects)))
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in objects:
            yield _result(done.get())
    except Exception:
        download.stopping.set()
        for thread in threads:
            thread.join()
        raise
    finally:
        download.stopping.set()


def _result(outcome: StoredObject | BaseException) -> StoredObject:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tell_of_unverified(address: Address, keys: Sequence[str]) -> None:
    if keys:
        logger.warning(
            "%s: %d objects have no checksum that can be compared, such as %r; of these, only the "
            "size is known to be right.",
            address,
            len(keys),
            min(keys),
        )


# --- checksums ------------------------------------------------------------------------------------


def _has_etag(path: Path, stored: StoredObject) -> bool:
    """Return whether the file has the ETag, as far as one can be computed."""
    if _is_md5(stored.etag):
        return _md5(path) == stored.etag
    if not re.fullmatch(r"[0-9a-f]{32}-[0-9]+", stored.etag):
        return False
    count = int(stored.etag.split("-")[1])
    sizes = possible_part_sizes(stored.size, count)
    return any(etag_in_parts(path, size) == stored.etag for size in sizes)


def possible_part_sizes(size: int, count: int) -> list[int]:
    """Return the sizes of parts, the likely first, that cut `size` bytes into `count` parts."""
    # Clients that are near the limit of parts take the smallest size that will do.
    smallest = math.ceil(size / max(count, 1) / MEBIBYTE)
    sizes = [mebibytes * MEBIBYTE for mebibytes in (*PART_SIZES, max(smallest, 1))]
    return [part for part in dict.fromkeys(sizes) if max(math.ceil(size / part), 1) == count]


def etag_in_parts(path: Path, part_size: int) -> str:
    """Return the ETag that an upload in parts of this size gets: the MD5 of the parts' MD5s."""
    parts = []
    with path.open("rb") as file:
        while part := file.read(part_size):
            parts.append(hashlib.md5(part, usedforsecurity=False).digest())
    whole = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return f"{whole}-{len(parts)}"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _is_md5(etag: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", etag) is not None


def _is_encrypted(facts: dict[str, Any]) -> bool:
    """Return whether the ETag is that of bytes that only the storage sees."""
    by_service = str(facts.get("ServerSideEncryption", "")).startswith("aws:")
    return by_service or "SSECustomerAlgorithm" in facts


# --- refusals -------------------------------------------------------------------------------------


@contextmanager
def _told(address: Address) -> Iterator[None]:
    """Say in words of this project what boto3 refuses."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _refusal(address, error) from None
    except _Changed as error:
        raise SourceUnavailable(
            f"{address}: {str(error)!r} was changed or removed while it was fetched. Run it again."
        ) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise _denied(address, _one_line(error)) from None
    except exceptions.SSLError as error:
        raise SourceError(
            f"{address}: the certificate of the storage is not accepted ({_one_line(error)}). "
            "Give the right AWS_ENDPOINT_URL, or the authority's certificate in AWS_CA_BUNDLE."
        ) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise SourceUnavailable(
            f"{address}: the storage cannot be reached ({_one_line(error)}). Check "
            "AWS_ENDPOINT_URL and whether it runs, then run it again."
        ) from None
    except exceptions.BotoCoreError as error:
        raise SourceError(
            f"{address}: boto3 refuses it ({_one_line(error)}). Check the AWS_* settings."
        ) from None
    except OSError as error:
        raise SourceError(
            f"{address}: what is downloaded cannot be written ({_one_line(error)}). Make room, or "
            "name another folder; what has come is kept."
        ) from None


def _refusal(address: Address, error: Any) -> SourceError:
    facts, status = error.response.get("Error", {}), _status(error)
    code = str(facts.get("Code", status))
    reason = f"{code}: {_one_line(facts.get('Message') or 'no reason given')}"
    if code == "NoSuchBucket" or status == 404:
        return SourceError(
            f"{address}: there is no bucket {address.bucket}. Check the address and "
            "AWS_ENDPOINT_URL, or create the bucket."
        )
    if status in (401, 403) or code in DENIALS:
        return _denied(address, reason)
    if status >= 500 or status == 429 or code in NOT_NOW:
        return SourceUnavailable(
            f"{address}: the storage refuses for now ({reason}). Run it again in a while."
        )
    return SourceError(
        f"{address}: the storage refuses it ({reason}). Check the address, AWS_ENDPOINT_URL and "
        "AWS_REGION."
    )


def _denied(address: Address, reason: str) -> SourceError:
    return SourceError(
        f"{address}: access is denied ({reason.rstrip('.')}). Set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to credentials that may read it."
    )


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
