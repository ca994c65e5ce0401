"""API keys of the clients: kept as digests in one file, which is read again when it changes.

A key has 256 random bits, so nobody can try all of them, and a plain SHA-256 of it tells nothing;
the slow hashes of passwords are for what people make up.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cracks.errors import ServiceError
from cracks.inference.handover.prediction_id import shown
from cracks.system.atomic_files import atomic_replace
from cracks.system.hashing import digest_of_bytes
from cracks.system.validation_errors import reason_of
from serving.middleware.request_context import request_context
from serving.schemas.problems import problem

logger = logging.getLogger(__name__)

#: How a key begins, so that a lost one is recognised, and how many random bytes follow.
PREFIX, RANDOM_BYTES = "crk_", 32

#: Characters at the end of a key by which its owner recognises it.
SHOWN = 4


class StoredKey(BaseModel):
    """What the file says of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    ending: str
    created: str
    revoked: str | None = None


class StoredKeys(BaseModel):
    """The file: keys in the order in which they were made; a revoked one stays for the record."""

    model_config = ConfigDict(extra="forbid")

    keys: list[StoredKey] = []


def read_keys(file: Path) -> list[StoredKey]:
    """Return the keys in `file`, also the revoked ones; none if it does not exist.

    Raises:
        ServiceError: it is damaged or cannot be read.
    """
    try:
        return StoredKeys.model_validate(json.loads(file.read_bytes())).keys
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ServiceError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ServiceError(
            f"{file} is damaged ({reason_of(error)}). Move it away, then make new keys with "
            "`cracks keys create NAME`."
        ) from None


def create_key(file: Path, name: str) -> str:
    """Return a new key, of which only the digest is kept.

    Raises:
        ServiceError: the name is in use or no plain word, or the file is damaged.
    """
    key = new_key()
    made = _stored(name, key)
    with _locked(file):
        keys = read_keys(file)
        if any(one.name == name and not one.revoked for one in keys):
            raise ServiceError(
                f"There is a key {name} already. Take another name, or `cracks keys revoke {name}`."
            )
        _write(file, [*keys, made])
    return key


def keep_key(file: Path, name: str, key: str) -> None:
    """Let a key that was made elsewhere be the one of that name; done twice, it is as done once.

    A key that was revoked stays so: only another one opens the service under that name again.

    Raises:
        ServiceError: the name is no plain word, or the file is damaged.
    """
    made = _stored(name, key)
    with _locked(file):
        keys = read_keys(file)
        if any(one.digest == made.digest for one in keys):
            return
        replaced = [_revoked(one) if one.name == name and not one.revoked else one for one in keys]
        _write(file, [*replaced, made])


def revoke_key(file: Path, name: str) -> None:
    """Let the key of that name be refused from now on.

    Raises:
        ServiceError: there is none, or the file is damaged.
    """
    with _locked(file):
        keys = read_keys(file)
        found = [one for one in keys if one.name == name and not one.revoked]
        if not found:
            raise ServiceError(
                f"There is no key {shown(name)} in use. `cracks keys list` shows all of them."
            )
        _write(file, [_revoked(one) if one is found[0] else one for one in keys])


def new_key() -> str:
    """Return a key that nobody has yet."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def _stored(name: str, key: str) -> StoredKey:
    try:
        return StoredKey(name=name, digest=_digest(key), ending=key[-SHOWN:], created=_now())
    except ValidationError:
        raise ServiceError(
            f"{shown(name)} is no name for a key: letters, digits, '.', '_' and '-', at most 64."
        ) from None


def _revoked(key: StoredKey) -> StoredKey:
    return key.model_copy(update={"revoked": _now()})


def _locked(file: Path) -> FileLock:
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file.with_name(f".{file.name}.lock"))


def _write(file: Path, keys: list[StoredKey]) -> None:
    text = StoredKeys(keys=keys).model_dump_json(indent=2) + "\n"
    with atomic_replace(file) as partial:
        # Nobody but the owner may read it, not even for a moment.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _digest(key: str) -> str:
    return digest_of_bytes(key.encode("utf-8", "surrogateescape"))


class KeyRing:
    """The keys that open the service now."""

    def __init__(self, file: Path) -> None:
        """Follow `file`."""
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._keys: list[StoredKey] = []

    def name_of(self, key: str) -> str | None:
        """Return whose key that is; None if it is nobody's, or was revoked.

        How long it takes does not depend on the key.
        """
        self._look()
        digest, name = _digest(key), None
        for one in self._keys:
            if hmac.compare_digest(one.digest, digest):
                name = one.name
        return name

    def _look(self) -> None:
        seen = _version_of(self._file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = [one for one in read_keys(self._file) if not one.revoked]
        except ServiceError as error:
            self._keys = []  # what cannot be read opens nothing
            logger.error("%s", error)


def _version_of(file: Path) -> tuple[int, ...]:
    """Return what changes whenever the file is written; the same while there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


#: What anybody may see: whether the service lives, and the pages, which ask for a key themselves.
OPEN_PATHS = frozenset(
    {"/", "/pipeline", "/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"}
)
OPEN_PREFIX = "/page/"


def is_open(path: str) -> bool:
    """Return whether an address needs no key."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


class KeyCheck:
    """Responds with 401 to a request without a key."""

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        """Wrap `app`."""
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond as the wrapped application does, or refuse."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = given_key(scope)
        name = self._keys.name_of(given) if given else None
        if name is not None:
            request_context(scope).key = name
            await self._app(scope, receive, send)
            return
        said = "is not known, or was revoked" if given else "is wanted"
        refusal = problem(
            scope,
            401,
            f"A key {said}: send `Authorization: Bearer KEY` or `X-API-Key: KEY`. "
            "`cracks keys create NAME` makes one.",
            {"WWW-Authenticate": 'Bearer realm="cracks"'},
        )
        await refusal(scope, receive, send)


def given_key(scope: Scope) -> str:
    """Return the key that came with a request; empty if none did."""
    headers = Headers(scope=scope)
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "").strip()
