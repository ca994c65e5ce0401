"""Read the record: the newest predictions, one of them, or all of a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cracks.errors import one_line
from cracks.inference.handover.prediction_id import parse_prediction_id
from cracks.monitoring.prediction_log.locations import FOLDER, place_of_log, sources
from cracks.monitoring.prediction_log.part_files import (
    Part,
    PartStore,
    day_of,
    hour_of,
    parts_that_count,
    written_time,
)
from cracks.monitoring.prediction_log.schema import (
    SCHEMA,
    SHORT_COLUMNS,
    RecordedPrediction,
    as_predictions,
    as_time,
    conformed,
    time_at,
)

logger = logging.getLogger(__name__)

#: How often an hour is listed again whose parts are merged while they are read.
LISTINGS = 5

#: By how much the time in an id may differ from that of its prediction: one is taken earlier.
ID_DIFFERS_BY = timedelta(minutes=2)


@dataclass(frozen=True)
class _Group:
    """A group of rows in an open part."""

    part: Part
    parquet: pq.ParquetFile
    number: int
    oldest: str
    newest: str


@dataclass
class PredictionLog:
    """A record to be read; `damaged` says which parts were skipped, and why.

    All methods may raise:
        StorageError: the bucket cannot be read, or boto3 is not installed.
        OSError: the folder cannot be read.
    """

    place: str | Path  # a folder, or s3://bucket/prefix
    spool: Path | None = None  # the folder where predictions wait for their upload to a bucket
    damaged: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sources = sources(self.place, self.spool)

    @classmethod
    def of(cls, service: Path) -> PredictionLog:
        """Return the record of the services of a service folder."""
        return cls(place_of_log(service), service / FOLDER)

    def days(self) -> list[str]:
        """Return the days that there is something of, such as 2026-11-21, the oldest first."""
        return sorted({day for source in self._sources for day in source.days()})

    def recent(self, limit: int) -> list[RecordedPrediction]:
        """Return the newest predictions, the newest first, without sketches and images."""
        predictions: list[RecordedPrediction] = []
        for hour in self._hours_backwards():
            if len(predictions) >= limit:
                break
            predictions += as_predictions(self._newest_of_hour(hour, limit - len(predictions)))
        return predictions

    def find(self, prediction_id: str) -> RecordedPrediction | None:
        """Return the prediction of this id, or None if it is not in the record.

        Raises:
            TrackingError: it is no prediction id; besides the errors of all methods.
        """
        time = parse_prediction_id(prediction_id).time
        for table in self._between(time - ID_DIFFERS_BY, time + ID_DIFFERS_BY):
            found = table.filter(pc.equal(table["prediction_id"], prediction_id))
            if len(found):
                return as_predictions(found.slice(0, 1))[0]
        return None

    def read(
        self, since: datetime, until: datetime, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield the predictions from `since` to before `until`, some thousand rows at a time.

        Hours come in their order; within an hour there is none.
        """
        needed = None if columns is None else list(dict.fromkeys(["time", *columns]))
        for table in self._between(since, until, needed):
            time = table["time"]
            is_since = pc.greater_equal(time, pa.scalar(since, time.type))
            is_before = pc.less(time, pa.scalar(until, time.type))
            wanted = table.filter(pc.and_(is_since, is_before))
            if len(wanted):
                yield wanted if columns is None else wanted.select(list(columns))

    def _between(
        self, since: datetime, until: datetime, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield the groups of rows of which some may be of that time."""
        first, last = written_time(since), written_time(until)
        for hour in self._hours(since, until):
            with ExitStack() as stack:
                for part, file in self._opened(hour, stack, first, last):
                    for group in self._groups(part, file):
                        if first <= group.newest and group.oldest <= last:
                            yield from self._rows(group, columns)

    # --- the newest -------------------------------------------------------------------------------

    def _newest_of_hour(self, hour: str, limit: int) -> pa.Table:
        """Return the newest predictions of an hour; only what may hold them is read."""
        newest = conformed(SCHEMA.empty_table(), SHORT_COLUMNS)
        with ExitStack() as stack:
            opened = self._opened(hour, stack)
            for part, file in sorted(opened, key=lambda one: one[0].newest, reverse=True):
                if part.newest < _last_wanted(newest, limit):
                    break
                groups = self._groups(part, file)
                for group in sorted(groups, key=lambda one: one.newest, reverse=True):
                    if group.newest < _last_wanted(newest, limit):
                        break
                    rows = [newest, *self._rows(group, SHORT_COLUMNS)]
                    newest = _newest(pa.concat_tables(rows), limit)
        return newest

    # --- which parts ------------------------------------------------------------------------------

    def _hours_backwards(self) -> Iterator[str]:
        for day in reversed(self.days()):
            parts = {part for source in self._sources for part in source.parts(day)}
            yield from sorted({part.hour for part in parts}, reverse=True)

    def _hours(self, since: datetime, until: datetime) -> Iterator[str]:
        """Yield the hours from `since` to before `until` of days that there is something of."""
        first, last = hour_of(since), hour_of(until)
        for day in self.days():
            for hour in range(24):
                name = f"{day.replace('-', '')}T{hour:02}"
                if first <= name <= last:
                    yield name

    def _opened(
        self, hour: str, stack: ExitStack, first: str = "", last: str = "~"
    ) -> list[tuple[Part, BinaryIO]]:
        """Return the parts of an hour with predictions of that time, opened, in their order.

        All of them are opened at once, of the same listing: a part that is merged while others are
        read would be read twice, or not at all.
        """
        for _ in range(LISTINGS):
            found = self._parts(hour)
            wanted = [part for part in found if first <= part.newest and part.oldest <= last]
            with suppress(FileNotFoundError), ExitStack() as opening:
                files = [opening.enter_context(found[part].open(part)) for part in wanted]
                stack.push(opening.pop_all())
                return list(zip(wanted, files, strict=True))
        raise OSError(f"the parts of {hour} in {self.place} change again and again")

    def _parts(self, hour: str) -> dict[Part, PartStore]:
        """Return the parts that count of an hour, and where each can be read."""
        # The spool comes first: what is uploaded after it was listed is found in the bucket.
        found = {
            part: source for source in self._sources for part in source.parts(day_of(hour), hour)
        }
        return {part: found[part] for part in parts_that_count(found)}

    # --- what is in them --------------------------------------------------------------------------

    def _groups(self, part: Part, file: BinaryIO) -> list[_Group]:
        """Return the groups of rows of a part; none if it is damaged."""
        try:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            return [
                _Group(part, parquet, number, *_range_of(parquet, number, part))
                for number in range(parquet.num_row_groups)
            ]
        except (pa.ArrowException, OSError) as error:
            self._skip(part, error)
            return []

    def _rows(self, group: _Group, columns: Sequence[str] | None) -> list[pa.Table]:
        """Return the rows of a group; no table if it is damaged."""
        try:
            wanted = None if columns is None else list(columns)
            table = group.parquet.read_row_group(group.number, columns=wanted, use_threads=False)
            return [conformed(table, columns or SCHEMA.names)]
        except (pa.ArrowException, OSError) as error:
            self._skip(group.part, error)
            return []

    def _skip(self, part: Part, error: Exception) -> None:
        reason = one_line(error)
        if part.name not in self.damaged:
            logger.warning("%s in %s is damaged and skipped (%s)", part.path, self.place, reason)
        self.damaged[part.name] = reason


def _range_of(parquet: pq.ParquetFile, number: int, part: Part) -> tuple[str, str]:
    """Return the time of the oldest and of the newest prediction of a group of rows."""
    columns = parquet.metadata.row_group(number)
    known = columns.column(parquet.metadata.schema.names.index("time")).statistics
    if known is None or not known.has_min_max:
        return part.oldest, part.newest
    return written_time(as_time(known.min_raw)), written_time(as_time(known.max_raw))


def _newest(table: pa.Table, limit: int) -> pa.Table:
    """Return the newest predictions, newest first."""
    order = pc.sort_indices(table, [("time", "descending")])
    return table.take(order[:limit])


def _last_wanted(newest: pa.Table, limit: int) -> str:
    """Return the time before which no prediction is one of the newest."""
    return "" if len(newest) < limit else written_time(time_at(newest, -1))
