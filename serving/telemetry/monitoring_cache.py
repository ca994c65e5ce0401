"""What monitoring found, read where it keeps its history, and kept for a few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cracks.monitoring.history import (
    FOLDER,
    LiveAccuracy,
    Window,
    read_live_accuracy,
    read_picture,
    read_windows,
)
from cracks.monitoring.prediction_log.locations import below

#: Seconds that a result is cached: not every poll of Prometheus or of a page reads the bucket.
KEPT_FOR = 15.0

#: Windows of a day at most, whatever their length.
MOST_A_DAY = 96

Found = TypeVar("Found")


class MonitoringCache:
    """The history of the monitoring of one prediction log."""

    def __init__(self, record: str) -> None:
        """Read nothing yet.

        Args:
            record: the place of the prediction log, beside which monitoring keeps its history.
        """
        self._place = below(record, FOLDER)
        self._lock = threading.Lock()
        self._kept: dict[object, tuple[float, object]] = {}

    def windows(self, days: int) -> list[Window]:
        """Return the windows of the last days, the oldest first; none before anything was watched.

        Raises:
            CracksError, OSError: the place cannot be read.
        """
        since = datetime.now(UTC) - timedelta(days=days)
        return self._again(days, lambda: read_windows(self._place, MOST_A_DAY * days, since=since))

    def newest(self) -> Window | None:
        """Return the last window that was judged, among the last few; raises as `windows`."""
        found = self._again("newest", lambda: read_windows(self._place, 5))
        return next((one for one in reversed(found) if one.judged), None)

    def live(self) -> LiveAccuracy | None:
        """Return how right the predictions were, by people's feedback; raises as `windows`."""
        return self._again("live", lambda: read_live_accuracy(self._place))

    def picture(self, name: str) -> bytes | None:
        """Return a picture of a window, a PNG file; raises as `windows`."""
        return read_picture(self._place, name)

    def _again(self, what: object, read: Callable[[], Found]) -> Found:
        """Return what was read a moment ago, or read it."""
        with self._lock:
            at, found = self._kept.get(what, (0.0, None))
            if time.monotonic() - at > KEPT_FOR or what not in self._kept:
                found = read()
                self._kept[what] = (time.monotonic(), found)
        return found  # type: ignore[return-value] # of what `read` returns
