"""The promotion lock: one process at a time, whichever the host, and never lost by a crash.

A promotion writes down what it is about to do as a registered model `<model>.promotion`, for
no two registered models can have the same name, in any database behind MLflow. A process that was
killed leaves it there, and the next one takes over what was begun.
"""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cracks.errors import PromotionUnderway, TrackingError
from cracks.registry.ledger import LONGEST_WHO, LONGEST_WHY, Identity, Kind, printable_line
from cracks.registry.mlflow_store.connection import Connection
from cracks.system.hashing import digest_of_bytes

INTENT_TAG = "intent"

#: After this time a promotion from another host, whose processes cannot be seen from here, counts
#: as dead. A promotion takes seconds; the clocks of the hosts may differ.
PATIENCE = timedelta(minutes=15)

#: Seconds by which the start of one and the same process may seem to differ.
SAME_START = 2.0


class PromotionIntent(BaseModel):
    """What a promotion or rollback is about to do, and which process does it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transaction: Identity
    kind: Kind
    version: str
    why: str
    who: str
    #: What the ledger, the aliases and champion.json said before.
    from_version: str | None
    champion_before: str | None
    previous_before: str | None
    in_service: str | None
    #: The process, since when it does it, and where processes have these numbers.
    host: str
    pids: str
    pid: Annotated[int, Field(ge=1)]
    started: float  # seconds after the host did: the clock may be set meanwhile
    at: str  # ISO 8601, UTC

    @classmethod
    def of_this_process(cls, *, who: str, why: str, **known: Any) -> PromotionIntent:
        """Return the intent of a new transaction.

        Args:
            who: the person.
            why: in their words.
            known: kind, version, and what was before.
        """
        return cls(
            transaction=uuid.uuid4().hex,
            who=printable_line(who, LONGEST_WHO),
            why=printable_line(why, LONGEST_WHY),
            **known,
            **_this_process(),
        )

    @property
    def noun(self) -> str:
        """What the change is called in a sentence."""
        return {"promote": "promotion"}.get(self.kind, self.kind)

    def taken_over(self) -> PromotionIntent:
        """Return the same transaction, done by this process from now on."""
        return self.model_copy(update=_this_process())

    @property
    def may_be_taken_over(self) -> bool:
        """Whether its process is dead, as far as can be told from here."""
        if (self.host, self.pids) == (socket.gethostname(), _pid_namespace()):
            return not _lives(self.pid, self.started)
        return datetime.now(UTC) >= self.is_dead_at

    @property
    def is_dead_at(self) -> datetime:
        """From when on a process of another host counts as dead."""
        return datetime.fromisoformat(self.at) + PATIENCE

    @property
    def in_words(self) -> str:
        """One line for a process that must wait."""
        return (
            f"{self.who} began the {self.noun} of version {self.version} on {self.host} (process "
            f"{self.pid}) at {self.at}"
        )


class PromotionLock:
    """The right to change the champion of one model."""

    def __init__(self, connection: Connection, model_name: str) -> None:
        """Make the lock of a model; nothing is locked yet."""
        self._connection, self._client = connection, connection.client
        self.name = f"{model_name}.promotion"
        key = digest_of_bytes(f"{connection.uri} {self.name}".encode())[:16]
        self._lock = Path(tempfile.gettempdir()) / f"cracks-{os.getuid()}-{key}.lock"

    def underway(self) -> PromotionIntent | None:
        """Return the promotion that holds the lock, its process dead or alive.

        Raises:
            TrackingError: what stands there was not written by this project.
        """
        with self._connection.explained():
            found = self._client.search_registered_models(f"name = '{self.name}'")
        if not found:
            return None
        try:
            return PromotionIntent.model_validate_json(found[0].tags.get(INTENT_TAG, ""))
        except ValidationError:
            raise TrackingError(
                f"The registered model {self.name} in MLflow does not say who promotes. Delete it "
                "there if nobody does, then try again."
            ) from None

    def take(self, intent: PromotionIntent) -> None:
        """Take the lock.

        Raises:
            PromotionUnderway: another promotion has it.
        """
        tags = {INTENT_TAG: intent.model_dump_json()}
        description = f"{intent.in_words}. This goes away when it has ended."
        try:
            with self._connection.explained():
                self._client.create_registered_model(self.name, tags, description)
        except TrackingError:
            other = self.underway()
            if other is None:
                raise  # not because the name is taken
            # Ours, where the response to a first request was lost and MLflow sent it again.
            if other.transaction != intent.transaction:
                raise _underway(other) from None

    def take_over(self, left: PromotionIntent) -> PromotionIntent:
        """Take the lock over from a dead process; return the intent with this process in it.

        Raises:
            PromotionUnderway: it is alive, or another process has taken over.
        """
        if not left.may_be_taken_over:
            raise _underway(left)
        with FileLock(self._lock):
            now = self.underway()
            if now != left:
                raise _underway(now or left)
            mine = left.taken_over()
            with self._connection.explained():
                self._client.set_registered_model_tag(self.name, INTENT_TAG, mine.model_dump_json())
        return mine

    def release(self, intent: PromotionIntent) -> None:
        """Release the lock; one that this intent does not hold is left alone."""
        if self.underway() != intent:
            return
        try:
            with self._connection.explained():
                self._client.delete_registered_model(self.name)
        except TrackingError:
            # Done, where the response to a first request was lost and MLflow sent it again.
            if self.underway() == intent:
                raise


def _underway(other: PromotionIntent) -> PromotionUnderway:
    if other.host == socket.gethostname():
        advice = "Wait until it has ended, then try again."
    else:
        until = other.is_dead_at.isoformat(timespec="minutes")
        advice = f"Wait until it has ended; if that process was killed, try again after {until}."
    return PromotionUnderway(f"{other.in_words}. {advice}")


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pids": _pid_namespace(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _pid_namespace() -> str:
    """Return what tells containers of one host apart; empty where there is none."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time() - psutil.boot_time())


def _lives(pid: int, started: float) -> bool:
    import psutil

    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(_start_of(pid) - started) < SAME_START
    except psutil.NoSuchProcess:
        return False
