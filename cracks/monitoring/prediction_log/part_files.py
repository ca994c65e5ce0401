"""Parts: the files of the record, each written once by one process, and merged by it later.

    2026-11-21/20261121T161422417Z-161426003Z-web7-4711-qkzmwe-000007.parquet
    │          │                   │          │             │  └ number of the part, counted by the
    │          │                   │          │             │    process; a merged part has two, its
    │          │                   │          │             │    first and last: 000001-000030
    │          │                   │          └ host, process id, and a word of chance: host and id
    │          │                   │            come again when a container is restarted
    │          │                   └ time of its newest prediction
    │          └ time of its oldest prediction; all are of the same hour, UTC
    └ day, UTC

A part counts no more as soon as a merged one of the same process and hour covers its number. So a
merged part replaces others in the moment when it gets its name; removing them can wait, or be cut
short, and nothing is lost or doubled. The same holds for copies of parts in a bucket.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import string
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cracks.monitoring.prediction_log.schema import SCHEMA, conformed, time_at
from cracks.storage.object_store import FolderStore, ObjectStore
from cracks.system.atomic_files import atomic_replace

#: Such as 20261121T161422417Z, which says its day in 8 characters and its hour in 11.
TIME = "%Y%m%dT%H%M%S"
DAY_LENGTH, HOUR_LENGTH = 8, 11

#: The name of the folder of a day.
DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"

NAME = re.compile(
    r"(?P<oldest>[0-9]{8}T[0-9]{9}Z)-(?P<newest>[0-9]{9}Z)-(?P<process>[A-Za-z0-9._-]+-[0-9]+-[a-z]{6})"
    r"-(?P<first>[0-9]{6,})(?:-(?P<last>[0-9]{6,}))?\.parquet",
    re.ASCII,
)

#: Rows and bytes that are kept in memory of what is merged; a group of rows of the merged part.
GROUP_ROWS, GROUP_BYTES = 16_384, 16 << 20


@dataclass(frozen=True)
class Part:
    """What the name of a part says."""

    oldest: str  # as 20261121T161422417Z
    newest: str
    process: str
    first: int
    last: int

    @property
    def hour(self) -> str:
        """The hour of all its predictions, such as 20261121T16."""
        return self.oldest[:HOUR_LENGTH]

    @property
    def name(self) -> str:
        """The name of its file."""
        numbers = f"{self.first:06}" + (f"-{self.last:06}" if self.last > self.first else "")
        newest = self.newest.partition("T")[2]
        return f"{self.oldest}-{newest}-{self.process}-{numbers}.parquet"

    @property
    def path(self) -> str:
        """Its path below the place of the record."""
        return f"{day_of(self.hour)}/{self.name}"


def parse_part(name: str) -> Part | None:
    """Return what the name of a file says, or None if it is none of a part."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    newest = f"{found['oldest'][:DAY_LENGTH]}T{found['newest']}"
    first = int(found["first"])
    return Part(found["oldest"], newest, found["process"], first, int(found["last"] or first))


def parts_that_count(parts: Iterable[Part]) -> list[Part]:
    """Return the parts that no merged one covers, by the time of their oldest prediction."""
    furthest: dict[tuple[str, str], int] = defaultdict(int)
    counting = []
    for part in sorted(
        set(parts), key=lambda part: (part.process, part.hour, part.first, -part.last)
    ):
        if part.last > furthest[part.process, part.hour]:
            furthest[part.process, part.hour] = part.last
            counting.append(part)
    return sorted(counting, key=lambda part: part.name)


def process_name() -> str:
    """Return a name for this process that no other has, here or elsewhere, now or later."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:60] or "host"
    return f"{host}-{os.getpid()}-{word_of_chance()}"


def word_of_chance() -> str:
    """Return six letters, which make a name that nobody else has."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(6))


# --- times ----------------------------------------------------------------------------------------


def written_time(time: datetime) -> str:
    """Return a time as names of parts say it, to the millisecond."""
    utc = time.astimezone(UTC)
    return f"{utc.strftime(TIME)}{utc.microsecond // 1000:03}Z"


def hour_of(time: datetime) -> str:
    """Return the hour of a time, such as 20261121T16."""
    return written_time(time)[:HOUR_LENGTH]


def day_of(hour: str) -> str:
    """Return the name of the folder of an hour, such as 2026-11-21."""
    return f"{hour[:4]}-{hour[4:6]}-{hour[6:8]}"


# --- a folder of parts ----------------------------------------------------------------------------


class PartStore:
    """The parts in a folder or a bucket."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def days(self) -> list[str]:
        """Return the names of the folders of days, the oldest first."""
        return [name for name in self._store.folders() if re.fullmatch(DAY, name)]

    def parts(self, day: str, hour: str = "") -> list[Part]:
        """Return the parts of a day, or of one hour of it; also those that count no more."""
        keys = self._store.keys(f"{day}/{hour}")
        found = (parse_part(key.removeprefix(f"{day}/")) for key in keys)
        return [part for part in found if part is not None]

    def open(self, part: Part) -> BinaryIO:
        """Return a part to be read; see `ObjectStore.open`."""
        return self._store.open(part.path)

    def upload(self, part: Part, content: bytes) -> None:
        """Store a part; to store it twice changes nothing."""
        self._store.write(part.path, content)


class PartFolder(PartStore):
    """The parts in a local folder, where they are written and merged."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FolderStore(folder))
        self.folder = folder

    def file(self, part: Part) -> Path:
        """Return where a part lies."""
        return self.folder / part.path

    def write(self, table: pa.Table, process: str, number: int) -> Part:
        """Write predictions of one hour, by time, and return the part as soon as it is on the disk.

        Raises:
            OSError: the place cannot be written.
        """
        table = table.take(pc.sort_indices(table["time"]))
        oldest, newest = (written_time(time_at(table, row)) for row in (0, -1))
        part = Part(oldest, newest, process, number, number)
        _write_groups(self.file(part), [table])
        return part

    def merge(self, parts: Sequence[Part]) -> Part:
        """Replace consecutive parts of one process and hour by a single one.

        Raises:
            OSError: the place cannot be written, or one of the parts is damaged.
            pa.ArrowException: one of the parts is damaged.
        """
        merged = Part(
            min(part.oldest for part in parts),
            max(part.newest for part in parts),
            parts[0].process,
            min(part.first for part in parts),
            max(part.last for part in parts),
        )
        _write_groups(self.file(merged), _regrouped(self.file(part) for part in parts))
        self.remove(parts)
        return merged

    def remove(self, parts: Iterable[Part]) -> None:
        """Remove parts, and the folder of a day that has nothing left."""
        for part in parts:
            self.file(part).unlink(missing_ok=True)
            with suppress(OSError):  # most often it is not empty
                self.file(part).parent.rmdir()

    def bytes_of(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Return the sizes of parts; one that has gone meanwhile is left out."""
        sizes = {}
        for part in parts:
            try:
                sizes[part] = self.file(part).stat().st_size
            except FileNotFoundError:
                continue
        return sizes


def is_older_than(seconds: float, file: Path) -> bool:
    """Return whether a file was written so long ago, and is still there."""
    try:
        return file.stat().st_mtime < time.time() - seconds
    except FileNotFoundError:
        return False  # another process was quicker


def _write_groups(file: Path, groups: Iterable[pa.Table]) -> None:
    """Write a file that is whole whenever it is there, even after the power has failed."""
    with atomic_replace(file) as partial:
        with pq.ParquetWriter(partial, SCHEMA, **WRITING) as writer:
            for group in groups:
                writer.write_table(group, row_group_size=len(group) or None)
        _sync(partial)
    with suppress(OSError):  # the file is there: to fail now would have it written twice
        _sync(file.parent)


#: Only columns of few values need a dictionary, and only the time a range for each group of rows.
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["kind", "label", "threshold", "model_version", "run_id"],
    "write_statistics": ["time"],
    "write_page_checksum": True,
    # Half of an id is that of the one before.
    "column_encoding": {"prediction_id": "DELTA_BYTE_ARRAY"},
}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _regrouped(files: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield the rows of files in larger groups, a few megabytes at a time."""
    gathered: list[pa.Table] = []
    for file in files:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            for number in range(parquet.num_row_groups):
                group = conformed(parquet.read_row_group(number, use_threads=False))
                if gathered and _is_enough([*gathered, group]):
                    yield pa.concat_tables(gathered).cast(SCHEMA)
                    gathered = []
                gathered.append(group)
    if gathered:
        yield pa.concat_tables(gathered).cast(SCHEMA)


def _is_enough(groups: Sequence[pa.Table]) -> bool:
    rows, size = sum(map(len, groups)), sum(group.nbytes for group in groups)
    return rows > GROUP_ROWS or size > GROUP_BYTES
