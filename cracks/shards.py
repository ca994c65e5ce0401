"""Parquet shards of original image bytes, in the layout that `datasets`, pandas and DuckDB open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)


@dataclass(frozen=True)
class ShardRow:
    """One patch in a shard: its SHA-256, its label, its path in the source, its bytes."""

    id: str
    label: str
    path: str
    content: bytes


class ShardWriter:
    """Collect rows and write a shard of `shard_rows` of them whenever one is full."""

    def __init__(self, folder: Path, shard_rows: int) -> None:
        folder.mkdir(parents=True)
        self._folder, self._shard_rows = folder, shard_rows
        self._rows: list[ShardRow] = []
        self._shards = 0

    def add(self, row: ShardRow) -> tuple[str, int]:
        """Take a row; return the name of its shard and its position there."""
        place = (f"part-{self._shards:05d}.parquet", len(self._rows))
        self._rows.append(row)
        if len(self._rows) == self._shard_rows:
            self.flush()
        return place

    def flush(self) -> None:
        """Write what is collected as one shard, if there is anything."""
        if not self._rows:
            return
        table = pa.table(
            {
                "id": [row.id for row in self._rows],
                "label": [row.label for row in self._rows],
                "image": [{"bytes": row.content, "path": row.path} for row in self._rows],
            },
            schema=SCHEMA,
        )
        # JPEG bytes do not shrink any further.
        pq.write_table(table, self._folder / f"part-{self._shards:05d}.parquet", compression="none")
        self._rows, self._shards = [], self._shards + 1


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of a folder in order."""
    return sorted(folder.glob("part-*.parquet"))


def read_contents(shard: Path, rows: list[int] | None = None) -> list[bytes]:
    """Return the image bytes of a shard, all or those of `rows`, in that order."""
    column = pq.read_table(shard, columns=["image"])["image"]
    if rows is not None:
        column = column.take(pa.array(rows, type=pa.int64()))
    return [image["bytes"] for image in column.to_pylist()]


def rows_of(ids: Sequence[str], manifest: pa.Table) -> pa.Table:
    """Return one row of the manifest for each id, in the order of `ids`."""
    row_of = {id_: row for row, id_ in enumerate(manifest["id"].to_pylist())}
    return manifest.take(pa.array([row_of[id_] for id_ in ids], type=pa.int64()))


def contents_of(rows: pa.Table, folder: Path) -> list[bytes]:
    """Return the image bytes of rows of the manifest, in their order; each shard is read once."""
    positions: dict[str, list[tuple[int, int]]] = defaultdict(list)
    places = zip(rows["shard"].to_pylist(), rows["row"].to_pylist(), strict=True)
    for position, (shard, row) in enumerate(places):
        positions[shard].append((position, row))
    contents = [b""] * len(rows)
    for shard, wanted in positions.items():
        found = read_contents(folder / shard, [row for _, row in wanted])
        for (position, _), content in zip(wanted, found, strict=True):
            contents[position] = content
    return contents


def iterate_contents(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the name and the image bytes of each shard, in order."""
    for shard in shard_files(folder):
        yield shard.name, read_contents(shard)


def count_rows(folder: Path) -> int:
    """Return how many patches the shards of a folder hold, without reading them."""
    return sum(pq.read_metadata(shard).num_rows for shard in shard_files(folder))
