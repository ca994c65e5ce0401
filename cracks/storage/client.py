"""The client of the storage: its settings, what it is asked for, and its refusals in our words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from cracks.errors import StorageError, StorageUnavailable, one_line
from cracks.storage.addresses import SCHEME, Address, StoredObject, parse_address

# boto3 is imported where it is used: whoever takes photographs from elsewhere does not wait for it.

#: Requests, and so threads, at a time.
THREADS = 16

#: How often botocore sends a request before it gives up.
ATTEMPTS = 5

#: How often a body may break off in a row without a single byte having come.
BREAKS = 3

#: Seconds to wait for a connection, and for the next bytes of a response.
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 30

#: Responses of status 400 that mean: these credentials do not open it.
DENIALS = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")

#: Responses of status 400 that mean: not now.
NOT_NOW = ("RequestTimeout", "Throttling")


def ensure_bucket(name: str, endpoint_url: str | None = None) -> bool:
    """Create the bucket if it is missing; return whether it was.

    Raises:
        StorageError: the storage refuses it.
        StorageUnavailable: the storage does not respond, or refuses for now.
    """
    from botocore.exceptions import ClientError

    with explaining(parse_address(f"{SCHEME}{name}")):
        client = connect(endpoint_url)
        try:
            client.head_bucket(Bucket=name)
            return False
        except ClientError as error:
            if status_of(error) != 404:
                raise
        client.create_bucket(Bucket=name, **_place_of(client.meta.region_name))
        return True


def require_bucket(address: Address, endpoint_url: str | None = None) -> None:
    """Refuse a bucket that is missing, or that the credentials do not open.

    Raises:
        StorageError: it is; StorageUnavailable: the storage does not respond, or refuses for now.
    """
    with explaining(address):
        connect(endpoint_url).head_bucket(Bucket=address.bucket)


def _place_of(region: str) -> dict[str, Any]:
    """Return how a bucket is placed: S3 takes the name of every region but that of the first."""
    if region in ("us-east-1", "aws-global"):
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def list_objects(address: Address) -> list[StoredObject]:
    """Return the objects in the folder that `address` names, or the one object, sorted by key.

    Raises:
        StorageError: the bucket does not exist, or the credentials do not open it.
        StorageUnavailable: the storage does not respond, or refuses for now.
    """
    with explaining(address):
        return listed(connect(), address)


def listed(client: Any, address: Address) -> list[StoredObject]:
    """Return what `list_objects` does, through an open client."""
    found = [
        _stored(entry, len(address.folder))
        for entry in object_entries(client, address.bucket, address.folder)
    ]
    if not found and address.prefix and not address.prefix.endswith("/"):
        found = _single(client, address)
    return sorted(found, key=lambda stored: stored.key)


def object_entries(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield what a listing says of each object whose key begins so, but what stands for a folder.

    Raises what boto3 does: to be called within `explaining`.
    """
    for page in pages(client, bucket, prefix):
        yield from (one for one in page.get("Contents", []) if not one["Key"].endswith("/"))


def pages(client: Any, bucket: str, prefix: str, **options: str) -> Iterable[dict[str, Any]]:
    """Return the pages of a listing; raises as `object_entries`."""
    found: Iterable[dict[str, Any]] = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, **options
    )
    return found


def _single(client: Any, address: Address) -> list[StoredObject]:
    """Return the object of exactly this key: of all that begin with it, it is listed first."""
    page = client.list_objects_v2(Bucket=address.bucket, Prefix=address.prefix)
    entries = [entry for entry in page.get("Contents", []) if entry["Key"] == address.prefix]
    return [_stored(entry, address.prefix.rfind("/") + 1) for entry in entries]


def _stored(entry: dict[str, Any], start: int) -> StoredObject:
    key = entry["Key"]
    return StoredObject(key[start:], entry["Size"], etag_of(entry), key)


def etag_of(facts: dict[str, Any]) -> str:
    """Return the ETag in an entry of a listing, or in a response; empty where there is none."""
    return str(facts.get("ETag", "")).strip('"')


def connect(endpoint_url: str | None = None) -> Any:
    """Return a client that may be used by many threads.

    Raises:
        StorageError: the address of the endpoint is none.
    """
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
        raise StorageError(
            f"{one_line(error)}. Write AWS_ENDPOINT_URL as http://HOST:PORT or https://HOST."
        ) from None


def require_boto3(address: Address) -> None:
    """Refuse an address where boto3 is not installed; it is not imported yet.

    Raises:
        StorageError: it is not.
    """
    if find_spec("boto3") is None:
        raise StorageError(
            f"{address} is in a bucket, but boto3 is not installed here. Run `uv sync --group "
            "pipeline`, or for the service alone `uv sync --group serving --group serving-s3`."
        )


# --- refusals -------------------------------------------------------------------------------------


@contextmanager
def explaining(address: Address) -> Iterator[None]:
    """Say in words of this project what boto3, or the place of a mirror, refuses."""
    require_boto3(address)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(address, error) from None
    except BotoCoreError as error:
        raise _failure(address, error) from None
    except OSError as error:
        raise StorageError(
            f"{address}: what is downloaded cannot be written ({one_line(error)}). Make room, or "
            "name another folder; what has come is kept."
        ) from None


def _refusal(address: Address, error: Any) -> StorageError:
    """Return what to say of a response of the storage."""
    status, facts = status_of(error), error.response.get("Error", {})
    code = str(facts.get("Code", status))
    reason = f"{code}: {one_line(facts.get('Message') or 'no reason given')}"
    if status == 404:
        return StorageError(
            f"{address}: there is no bucket {address.bucket}. Check the address and "
            "AWS_ENDPOINT_URL, or create the bucket."
        )
    if status in (401, 403) or code in DENIALS:
        return _denied(address, reason)
    if status >= 500 or status == 429 or code in NOT_NOW:
        return StorageUnavailable(
            f"{address}: the storage refuses for now ({reason}). Run it again in a while."
        )
    return StorageError(
        f"{address}: the storage refuses it ({reason}). Check the address, AWS_ENDPOINT_URL and "
        "AWS_REGION."
    )


def _failure(address: Address, error: Exception) -> StorageError:
    """Return what to say where the storage has not responded."""
    from botocore import exceptions

    reason = one_line(error)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return _denied(address, reason)
    if isinstance(error, exceptions.SSLError):
        return StorageError(
            f"{address}: the certificate of the storage is not accepted ({reason}). "
            "Give the right AWS_ENDPOINT_URL, or the authority's certificate in AWS_CA_BUNDLE."
        )
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return StorageUnavailable(
            f"{address}: the storage cannot be reached ({reason}). Check "
            "AWS_ENDPOINT_URL and whether it runs, then run it again."
        )
    return StorageError(f"{address}: boto3 refuses it ({reason}). Check the AWS_* settings.")


def _denied(address: Address, reason: str) -> StorageError:
    return StorageError(
        f"{address}: access is denied ({reason.rstrip('.')}). Set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to credentials that may read it."
    )


def status_of(error: Any) -> int:
    """Return the HTTP status of a refusal; 0 where it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing_object(error: Any) -> bool:
    """Return whether a refusal says that there is no such object; not of a bucket that is missing.

    To HEAD, storage says no more than 404.
    """
    code = error.response.get("Error", {}).get("Code")
    return status_of(error) == 404 and code in ("NoSuchKey", "404")
