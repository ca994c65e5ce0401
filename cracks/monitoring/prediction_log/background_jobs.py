"""Chores: what a thread does again and again beside predicting, and later if it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pyarrow as pa

from cracks.errors import CracksError, one_line

logger = logging.getLogger(__name__)

#: Seconds of the first pause after a failure, and of the longest one; each is twice the last.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0


class BackgroundJob:
    """A step that may fail: it is said once, and again when it succeeds."""

    def __init__(self, complaint: str, step: Callable[[], None]) -> None:
        """Prepare it; `complaint` is what to say while it fails."""
        self._complaint, self._step = complaint, step
        self.problem: str | None = None

    def attempt(self) -> bool:
        """Take the step; return whether it succeeded."""
        try:
            self._step()
        except Exception as error:  # predictions must continue, and so must this thread
            known = isinstance(error, CracksError | OSError | pa.ArrowException)
            reason = one_line(error) if known else repr(error)
            if self.problem is None:
                logger.error("%s (%s)", self._complaint, reason, exc_info=not known)
            self.problem = f"{self._complaint} ({reason})"
            return False
        if self.problem:
            logger.info("no longer: %s", self._complaint)
        self.problem = None
        return True


class BackgroundThread:
    """A thread that does a chore every `interval` seconds, and after growing pauses if it fails."""

    def __init__(self, chore: BackgroundJob, interval: float, *, also_at_end: bool) -> None:
        self._chore, self._interval, self._also_at_end = chore, interval, also_at_end
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; it is done for the first time after the interval."""
        self._thread = threading.Thread(target=self._run, name="chore of the record", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Do it once more, if it is to be, and wait for its end so many seconds."""
        self._ending.set()
        if self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while True:
            ended = self._ending.wait(_pause(failures) if failures else self._interval)
            if not ended or self._also_at_end:
                failures = 0 if self._chore.attempt() else failures + 1
            if ended:
                return


def _pause(failures: int) -> float:
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
