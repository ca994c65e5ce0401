"""The manifest: one row a patch, its place in the shards, the facts that validation needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from cracks.errors import UnreadableImage
from cracks.images import PatchFacts, inspect_patch
from cracks.labels import LABELS
from cracks.progress import Advance
from cracks.shards import ShardRow, ShardWriter
from cracks.sources import SourceFile

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("format", pa.string()),
        ("size_bytes", pa.int64()),
        ("brightness", pa.float64()),
        ("contrast", pa.float64()),
        ("sharpness", pa.float64()),
    ]
)

QUARANTINE_COLUMNS = ("path", "label", "reason")

#: Files inspected at a time: enough to keep the cores busy, few enough to hold in memory.
BATCH = 256


@dataclass
class Sorted:
    """What became of the files of a source."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, str]] = field(default_factory=list)


def sort_files(
    files: Iterable[SourceFile], size: int, writer: ShardWriter, advance: Advance
) -> Sorted:
    """Write every usable file to the shards and list the others with the reason.

    Args:
        files: in the order that the shards shall have.
        size: width and height in pixels that a patch must have.
        writer: takes the usable files.
        advance: is told of every file.

    Returns:
        The rows of the manifest and of the quarantine list.
    """
    result = Sorted()
    for file, facts in _inspected(files, size):
        advance(1)
        if isinstance(facts, str):
            result.quarantine.append({"path": file.path, "label": file.label, "reason": facts})
            continue
        shard, row = writer.add(ShardRow(facts.id, file.label, file.path, file.content))
        place = {"path": file.path, "label": file.label, "shard": shard, "row": row}
        result.rows.append(asdict(facts) | place)
    writer.flush()
    return result


def _inspected(
    files: Iterable[SourceFile], size: int
) -> Iterator[tuple[SourceFile, PatchFacts | str]]:
    def inspect(file: SourceFile) -> PatchFacts | str:
        try:
            return inspect_patch(file.content, size)
        except UnreadableImage as error:
            return str(error)

    remaining = iter(files)
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(remaining, BATCH)):
            yield from zip(batch, pool.map(inspect, batch), strict=True)


def manifest_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return the rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def class_counts(labels: Iterable[str]) -> dict[str, int]:
    """Return how many patches each label has, absent labels as 0."""
    listed = list(labels)
    return {label: listed.count(label) for label in LABELS}
