"""Bring parts from the folder where they were written into a bucket."""

from __future__ import annotations

from collections import defaultdict

from cracks.monitoring.prediction_log.compaction import LARGEST_PART, planned_merges
from cracks.monitoring.prediction_log.part_files import (
    Part,
    PartFolder,
    PartStore,
    is_older_than,
    parts_that_count,
)

#: Seconds after which a part was left by a process that has ended, and anybody uploads it.
LEFT_AFTER = 600.0


def upload_parts(spool: PartFolder, bucket: PartStore, process: str, last_written: int) -> None:
    """Empty the spool into the bucket: the parts of one process, and those that others have left.

    Args:
        spool: the folder; what has been uploaded is removed from it.
        bucket: where to.
        process: whose parts these are.
        last_written: the number of its last part that is whole. A listing may lack a part that
            comes meanwhile and have the next one; merged, that would cover the one before.

    Raises:
        StorageError: the bucket does not exist, or the credentials do not open it.
        StorageUnavailable: the storage does not answer, or refuses for now.
        OSError: the spool cannot be written.
    """
    for day in spool.days():
        own: dict[str, list[Part]] = defaultdict(list)
        for part in parts_that_count(spool.parts(day)):
            if part.process != process:
                if is_older_than(LEFT_AFTER, spool.file(part)):
                    _send(spool, bucket, part)
            elif part.last <= last_written:
                own[part.hour].append(part)
        for parts in own.values():
            _send_merged(spool, bucket, parts)


def _send_merged(spool: PartFolder, bucket: PartStore, parts: list[Part]) -> None:
    """Send the parts of one hour as few objects."""
    sizes = spool.bytes_of(parts)
    packs = planned_merges(sizes, over=True, largest=LARGEST_PART)
    alone = set(sizes) - {part for pack in packs for part in pack}
    for part in [*(spool.merge(pack) for pack in packs), *alone]:
        _send(spool, bucket, part)


def _send(spool: PartFolder, bucket: PartStore, part: Part) -> None:
    try:
        content = spool.file(part).read_bytes()
    except FileNotFoundError:
        return  # removed to make room, or sent by somebody else
    bucket.upload(part, content)
    spool.remove([part])
