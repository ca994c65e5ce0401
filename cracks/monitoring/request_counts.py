"""How many requests the service served and failed, an hour: what the record of predictions lacks.

    answers/monitoring/requests/2026-11-21/16-web7-4711-qkzmwe.json   of a process in an hour, UTC

A process rewrites its own file every minute, whole; so a killed process loses a minute at most.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cracks.monitoring.history import place_of_monitoring
from cracks.monitoring.prediction_log.part_files import process_name
from cracks.storage.object_store import ObjectStore, open_store

logger = logging.getLogger(__name__)

FOLDER = "requests"

#: From this status on the service failed, and not the client.
FAILED = 500

#: What Python calls the name of a file of an hour.
HOUR = "%Y-%m-%d/%H"


#: Hours whose counts are kept in memory: a clock that is set back finds them again.
KEPT_HOURS = 24


@dataclass(frozen=True)
class Counted:
    """How many of something went wrong."""

    wrong: int
    total: int


class RequestCounts:
    """Counts of this process; `count` may be called from any thread."""

    def __init__(self, place: str | Path) -> None:
        """Begin at nothing; `place` is that of the monitoring."""
        self._place = place
        self._process = ""
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._changed: set[str] = set()
        self._problem = ""

    def count(self, status: int, now: datetime | None = None) -> None:
        """Count a request with the status of its response."""
        hour = (now or datetime.now(UTC)).astimezone(UTC).strftime(HOUR)
        with self._lock:
            # Not that of the process which this one may be a fork of.
            self._process = self._process or process_name()
            counts = self._counts.setdefault(hour, Counter())
            counts["total"] += 1
            counts["failed"] += status >= FAILED
            self._changed.add(hour)

    def write(self) -> None:
        """Write what has changed; what cannot be written now is written with the next."""
        with self._lock:
            changed = {hour: dict(self._counts[hour]) for hour in sorted(self._changed)}
            self._changed.clear()
        try:
            files = open_store(self._place) if changed else None
            for hour, counts in changed.items():
                assert files
                files.write(f"{FOLDER}/{hour}-{self._process}.json", json.dumps(counts).encode())
            self._problem = ""
        except Exception as error:  # predictions must continue
            with self._lock:
                self._changed |= set(changed)
            if not self._problem:
                logger.warning("counts of requests cannot be written: %r", error)
            self._problem = repr(error)
        with self._lock:
            for hour in sorted(set(self._counts) - self._changed)[:-KEPT_HOURS]:
                del self._counts[hour]


def counted_requests(service: Path, begin: datetime, end: datetime) -> Counted | None:
    """Return how many requests of some whole hours were failed; None if nobody counted.

    Raises:
        OSError: the folder cannot be read.
        StorageError: the bucket cannot be read.
    """
    files = open_store(place_of_monitoring(service))
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    first, last = begin.strftime(HOUR), end.strftime(HOUR)
    found = []
    for number in range((end.date() - begin.date()).days + 1):
        for name in files.keys(f"{FOLDER}/{begin.date() + timedelta(days=number)}/"):
            hour = name.removeprefix(f"{FOLDER}/")[: len(first)]
            if first <= hour < last and (counts := _read(files, name)):
                found.append(counts)
    if not found:
        return None
    failed, total = (sum(one.get(key, 0) for one in found) for key in ("failed", "total"))
    return Counted(failed, total)


def _read(files: ObjectStore, name: str) -> dict[str, int]:
    try:
        counts = json.loads(files.read(name))
    except (FileNotFoundError, ValueError):
        logger.warning("%s is damaged and not counted", name)
        return {}
    return counts if isinstance(counts, dict) else {}
