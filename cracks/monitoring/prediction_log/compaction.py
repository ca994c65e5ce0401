"""Keep a folder of parts small: few files, a bounded number of bytes, no leftovers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from cracks.monitoring.prediction_log.part_files import (
    TIME,
    Part,
    PartFolder,
    day_of,
    is_older_than,
    parts_that_count,
)

#: Single parts of the running hour that are merged at a time: two minutes' worth.
MERGED_AT_A_TIME = 30

#: How long after its end an hour is still waited for: a prediction may come with an earlier time.
GRACE = timedelta(minutes=1)

#: Bytes of the largest part that is merged from others.
LARGEST_PART = 64 << 20

#: Seconds after which what was being written is given up: its process was killed.
GIVEN_UP_AFTER = 3600


def is_over(hour: str, now: datetime) -> bool:
    """Return whether no more predictions of an hour are to come."""
    end = datetime.strptime(f"{hour}0000", TIME).replace(tzinfo=UTC) + timedelta(hours=1)
    return now.astimezone(UTC) >= end + GRACE


def planned_merges(
    sizes: Mapping[Part, int], *, over: bool, largest: int = LARGEST_PART
) -> list[list[Part]]:
    """Return which parts are to be merged, each time consecutive ones.

    Args:
        sizes: the bytes of the parts of one process and hour that count.
        over: whether the hour is: then all are merged, before only the many single ones.
        largest: bytes that are put together.
    """
    parts = sorted(sizes, key=lambda part: part.first)
    if over:
        return _packed(parts, sizes, largest)
    # Only those after all merged ones: between them lies nothing that they would cover wrongly.
    single = list(takewhile(lambda part: part.first == part.last, reversed(parts)))[::-1]
    return _packed(single, sizes, largest) if len(single) >= MERGED_AT_A_TIME else []


def _packed(parts: Sequence[Part], sizes: Mapping[Part, int], largest: int) -> list[list[Part]]:
    packs: list[list[Part]] = []
    room = 0
    for part in parts:
        if not packs or sizes[part] > room:
            packs.append([])
            room = largest
        packs[-1].append(part)
        room -= sizes[part]
    return [pack for pack in packs if len(pack) > 1]


def make_room(folder: PartFolder, most_bytes: int) -> int:
    """Remove the oldest parts where all come near to `most_bytes`; return how many.

    An eighth is kept free for what is written until it is looked again, and for merging.
    """
    sizes: dict[Part, int] = {}
    for day in folder.days():
        sizes |= folder.bytes_of(folder.parts(day))
    total, removed = sum(sizes.values()), []
    if total > most_bytes * 7 / 8:
        for part in sorted(sizes, key=lambda part: part.name):
            if total <= most_bytes * 3 / 4:
                break
            removed.append(part)
            total -= sizes[part]
        folder.remove(removed)
    return len(removed)


def clear_leftovers(folder: PartFolder) -> None:
    """Remove what killed processes left: parts that count no more, and parts half written."""
    for day in folder.days():
        parts = folder.parts(day)
        folder.remove(set(parts) - set(parts_that_count(parts)))
        for partial in (folder.folder / day).glob(".*.parquet.partial"):
            if is_older_than(GIVEN_UP_AFTER, partial):
                partial.unlink(missing_ok=True)


def merge_hour(
    folder: PartFolder,
    hour: str,
    process: str,
    last_written: int,
    *,
    over: bool,
    largest: int = LARGEST_PART,
) -> None:
    """Merge the parts of an hour, such as 20261121T16, that one process has written.

    Up to `last_written`, the number of its last part that is whole; see `upload_parts`.

    Raises:
        OSError: the place cannot be written.
        pa.ArrowException: one of them is damaged.
    """
    counting = parts_that_count(folder.parts(day_of(hour), hour))
    own = [one for one in counting if one.process == process and one.last <= last_written]
    for parts in planned_merges(folder.bytes_of(own), over=over, largest=largest):
        folder.merge(parts)
