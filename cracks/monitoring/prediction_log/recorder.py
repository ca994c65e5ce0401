"""Record predictions: at once into memory, and every few seconds from there onto the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from cracks.monitoring.prediction_log.background_jobs import BackgroundJob, BackgroundThread
from cracks.monitoring.prediction_log.buffer import PredictionBuffer
from cracks.monitoring.prediction_log.compaction import (
    LARGEST_PART,
    clear_leftovers,
    is_over,
    make_room,
    merge_hour,
)
from cracks.monitoring.prediction_log.locations import local_folder
from cracks.monitoring.prediction_log.part_files import PartStore, hour_of, process_name
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.monitoring.prediction_log.schema import RecordedPrediction, as_table, is_sound
from cracks.monitoring.prediction_log.uploads import upload_parts
from cracks.storage.addresses import is_in_bucket
from cracks.storage.object_store import open_store

logger = logging.getLogger(__name__)

#: Seconds between two flushes. A prediction is to be on the disk five seconds after it was made,
#: and writing takes some of them.
FLUSH_INTERVAL = 4.0

#: Bytes of predictions that wait in memory while the disk cannot be written: about 30,000 of them.
MOST_BYTES_WAITING = 64 << 20

#: Seconds between two checks of what can be merged, and of how much there is in all.
TIDY_INTERVAL = 60.0

#: Seconds that the end of the service waits for the last flush and upload.
CLOSING_TIME = 10.0


class Recorder:
    """Keeps the record of the predictions of this process.

    To be started in the process that predicts: a fork takes no threads along.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        spool: Path | None = None,
        most_bytes: int = 2 << 30,
        flush_interval: float = FLUSH_INTERVAL,
        most_bytes_waiting: int = MOST_BYTES_WAITING,
        tidy_interval: float = TIDY_INTERVAL,
    ) -> None:
        """Prepare a record at a place; nothing is written before `start`.

        Args:
            place: a folder, or `s3://bucket/prefix`.
            spool: the folder where predictions wait for an upload; for a place in a bucket only.
            most_bytes: of all parts in the folder or spool, of whichever process.
            flush_interval: seconds between two flushes.
            most_bytes_waiting: of what is kept in memory.
            tidy_interval: seconds between two merges, or uploads.

        Raises:
            StorageError: the address of the bucket is none, or boto3 is not installed.
        """
        self._folder = local_folder(place, spool)
        self._record = PredictionLog(place, spool)
        self._bucket = PartStore(open_store(place)) if is_in_bucket(place) else None
        self._buffer = PredictionBuffer(most_bytes_waiting)
        self._most_bytes = most_bytes
        self._largest = min(LARGEST_PART, most_bytes // 16)
        self._flush_interval, self._tidy_interval = flush_interval, tidy_interval
        self._time_to_flush, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._process, self._number = process_name(), 0
        self._hours: set[str] = set()  # that this process has written and not merged to the end
        self._next_check = self._bytes_since_check = 0.0
        self.written = 0
        folder = self._folder.folder
        self._writing = BackgroundJob(
            f"predictions cannot be written to {folder} and wait in memory", self._flush
        )
        self._room = BackgroundJob(f"no room can be made in {folder}", self._make_room)
        self._beside = (
            BackgroundJob(f"predictions wait in {folder} for their upload", self._upload)
            if self._bucket
            else BackgroundJob(f"parts in {folder} cannot be merged", self._merge)
        )
        # A thread of its own: an hour of predictions takes longer to merge than a flush may wait.
        self._beside_thread = BackgroundThread(
            self._beside, tidy_interval, also_at_end=self._bucket is not None
        )

    # --- what predicting sees ---------------------------------------------------------------------

    def add(self, prediction: RecordedPrediction) -> None:
        """Record a prediction; returns at once, whatever state the disk is in."""
        if self._buffer.add(prediction):
            self._time_to_flush.set()

    @property
    def dropped(self) -> int:
        """How many predictions will never be in the record, for lack of room."""
        return self._buffer.dropped

    @property
    def waiting(self) -> list[RecordedPrediction]:
        """The predictions that are not written yet, the oldest first."""
        return self._buffer.predictions

    def recent(self, limit: int) -> list[RecordedPrediction]:
        """Return the newest predictions of all processes, and those that wait in this one.

        Raises:
            StorageError: the bucket cannot be read.
            OSError: the folder cannot be read.
        """
        # In this order: what is written in between is found twice, not missed.
        predictions = {prediction.prediction_id: prediction for prediction in self.waiting}
        for prediction in self._record.recent(limit):
            predictions.setdefault(prediction.prediction_id, prediction)
        return sorted(predictions.values(), key=lambda prediction: prediction.time, reverse=True)[
            :limit
        ]

    @property
    def last_problem(self) -> str | None:
        """Why nothing can be written or uploaded now, in one line; None if it can."""
        chores = (self._writing, self._room, self._beside)
        return "; ".join(chore.problem for chore in chores if chore.problem) or None

    # --- its life ---------------------------------------------------------------------------------

    def start(self) -> Recorder:
        """Begin to write every few seconds."""
        self._process = process_name()  # not that of the process which this one is a fork of
        self._thread = threading.Thread(target=self._run, name="record of predictions", daemon=True)
        self._thread.start()
        self._beside_thread.start()
        return self

    def close(self) -> None:
        """Write what is still in memory, and stop."""
        self._ending.set()
        self._time_to_flush.set()
        if self._thread:
            self._thread.join(CLOSING_TIME)
        else:
            self._writing.attempt()
        self._beside_thread.close(CLOSING_TIME)

    def __enter__(self) -> Recorder:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        as_table([])  # the first one takes longest: pyarrow looks whether pandas is there
        BackgroundJob(f"leftovers in {self._folder.folder} stay there", self._clear).attempt()
        while not self._ending.is_set():
            # While nothing can be written, more predictions are no reason to try more often.
            blocked = self._writing.problem is not None
            (self._ending if blocked else self._time_to_flush).wait(self._flush_interval)
            self._time_to_flush.clear()
            self._writing.attempt()
            if (
                self._bytes_since_check > self._most_bytes // 64
                or time.monotonic() > self._next_check
            ):
                self._room.attempt()
        self._writing.attempt()  # what came after the last one

    # --- writing ----------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what waits, the predictions of each hour as a part; what fails goes on waiting."""
        waiting: dict[str, list[RecordedPrediction]] = defaultdict(list)
        for prediction in self._buffer.take():
            waiting[hour_of(prediction.time)].append(prediction)
        try:
            for hour in sorted(waiting):
                self._write(hour, waiting[hour])
                del waiting[hour]
        finally:
            self._buffer.put_back(
                [prediction for hour in sorted(waiting) for prediction in waiting[hour]]
            )

    def _write(self, hour: str, predictions: Sequence[RecordedPrediction]) -> None:
        table = self._table(predictions)
        if len(table) == 0:
            return
        part = self._folder.write(table, self._process, self._number + 1)
        self._number += 1
        self._hours.add(hour)
        self.written += len(table)
        self._bytes_since_check += sum(self._folder.bytes_of([part]).values())

    def _table(self, predictions: Sequence[RecordedPrediction]) -> pa.Table:
        try:
            return as_table(predictions)
        except (AttributeError, TypeError, ValueError) as error:
            # Whoever made it is wrong; tried again and again, it would stop all that come after it.
            sound = [prediction for prediction in predictions if is_sound(prediction)]
            self._buffer.count_dropped(len(predictions) - len(sound))
            logger.error(
                "%d predictions cannot be recorded: %r", len(predictions) - len(sound), error
            )
            return as_table(sound)

    # --- keeping it small -------------------------------------------------------------------------

    def _make_room(self) -> None:
        self._next_check, self._bytes_since_check = time.monotonic() + self._tidy_interval, 0
        removed = make_room(self._folder, self._most_bytes)
        if removed:
            logger.info("record in %s: the %d oldest parts made room", self._folder.folder, removed)

    def _merge(self) -> None:
        last_written, now = self._number, datetime.now(UTC)
        for hour in sorted(self._hours.copy()):
            over = is_over(hour, now)
            try:
                merge_hour(
                    self._folder,
                    hour,
                    self._process,
                    last_written,
                    over=over,
                    largest=self._largest,
                )
            except pa.ArrowException:  # one is damaged: reading will say so
                self._hours.discard(hour)
                raise
            if over:
                self._hours.discard(hour)

    def _upload(self) -> None:
        assert self._bucket
        upload_parts(self._folder, self._bucket, self._process, self._number)

    def _clear(self) -> None:
        clear_leftovers(self._folder)
