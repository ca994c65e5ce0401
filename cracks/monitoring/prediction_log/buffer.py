"""What was predicted and is not written yet: bounded, and never in the way of a prediction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from cracks.monitoring.prediction_log.schema import RecordedPrediction

#: About what a prediction without its image takes in memory.
BYTES_OF_PREDICTION = 2048


class PredictionBuffer:
    """Predictions that wait to be written, and those that are being written."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._waiting: deque[RecordedPrediction] = deque()
        self._under_way: list[RecordedPrediction] = []
        self._bytes = 0
        self.dropped = 0

    def add(self, prediction: RecordedPrediction) -> bool:
        """Take a prediction, the oldest making room for it; return whether it is time to write."""
        with self._lock:
            self._waiting.append(prediction)
            self._bytes += _bytes_of(prediction)
            self._drop()
            return self._bytes > self._most_bytes // 4

    def take(self) -> list[RecordedPrediction]:
        """Return what waits, to be written; it is kept until `put_back`."""
        with self._lock:
            self._under_way = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return self._under_way

    def put_back(self, predictions: Sequence[RecordedPrediction]) -> None:
        """Forget what was taken but these, which wait again, before all others."""
        with self._lock:
            self._under_way = []
            self._waiting.extendleft(reversed(predictions))
            self._bytes += sum(map(_bytes_of, predictions))
            self._drop()

    def count_dropped(self, count: int) -> None:
        """Say that some will never be written."""
        with self._lock:
            self.dropped += count

    @property
    def predictions(self) -> list[RecordedPrediction]:
        """All that is not written yet, the oldest first."""
        with self._lock:
            return [*self._under_way, *self._waiting]

    def _drop(self) -> None:
        while self._bytes > self._most_bytes:
            self._bytes -= _bytes_of(self._waiting.popleft())
            self.dropped += 1


def _bytes_of(prediction: RecordedPrediction) -> int:
    return BYTES_OF_PREDICTION + len(prediction.image or b"")
