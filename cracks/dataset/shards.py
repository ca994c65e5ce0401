"""Parquet shards of original image bytes, in the layout that `datasets`, pandas and DuckDB open."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.parquet as pq

from cracks.dataset.labels import LABELS
from cracks.errors import DataError

#: What to do with a damaged shard of the workspace.
RESTORE = "`dvc checkout data/images` restores it; without it, remove the folder."

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


@dataclass(frozen=True)
class ShardPosition:
    """Where a patch lies, and the label that is written beside it."""

    shard: int
    row: int
    label: str


class Places:
    """Where the patches lie by id; small, because a data set may have millions of them."""

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._shards, self._rows, self._labels = array("I"), array("I"), bytearray()

    def __len__(self) -> int:
        return len(self._index)

    def add(self, id_: str, place: ShardPosition) -> None:
        """Remember a patch that is not known yet."""
        self._index[bytes.fromhex(id_)] = len(self._rows)
        self._shards.append(place.shard)
        self._rows.append(place.row)
        self._labels.append(LABELS.index(place.label))

    def number(self, id_: str) -> int | None:
        """Return the how-many-th patch this is, or None if it is not known."""
        return self._index.get(bytes.fromhex(id_))

    def place(self, number: int) -> ShardPosition:
        """Return the place of a patch by its number."""
        return ShardPosition(self._shards[number], self._rows[number], LABELS[self._labels[number]])


class ShardWriter:
    """Collect rows and write a shard of `shard_rows` of them whenever one is full."""

    def __init__(self, folder: Path, shard_rows: int, first: int = 0) -> None:
        """Write into `folder`, beginning with the shard of number `first`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._shard_rows, self._shard = folder, shard_rows, first
        self._rows: list[ShardRow] = []

    def add(self, row: ShardRow) -> ShardPosition:
        """Take a row and return where it will lie."""
        place = ShardPosition(self._shard, len(self._rows), row.label)
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
        write_shard(table, self._folder / shard_name(self._shard))
        self._rows, self._shard = [], self._shard + 1


def write_shard(table: pa.Table, path: Path) -> None:
    """Write a table of `SCHEMA`; JPEG bytes do not shrink any further."""
    pq.write_table(table, path, compression="none", write_page_checksum=True)


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"part-{number:05d}.parquet"


def shard_number(name: str) -> int:
    """Return the number of a shard by its file name."""
    return int(PurePath(name).stem.removeprefix("part-"))


def next_shard(folder: Path) -> int:
    """Return the number of the first shard that a folder does not have yet."""
    return max((shard_number(shard.name) + 1 for shard in shard_files(folder)), default=0)


def stored_places(folder: Path) -> Places:
    """Return what the shards of a folder hold; a missing folder holds nothing.

    Raises:
        DataError: a shard is damaged.
    """
    places = Places()
    for shard in shard_files(folder):
        try:
            number = shard_number(shard.name)
            table = _read_shard(shard, "id", "label")
            rows = zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)
            for row, (id_, label) in enumerate(rows):
                places.add(id_, ShardPosition(number, row, label))
        except (ValueError, KeyError) as error:
            raise _damaged(shard, error) from None
    return places


def _read_columns(shard: Path | pa.BufferReader, *columns: str) -> pa.Table:
    return pq.read_table(shard, columns=list(columns), page_checksum_verification=True)


def _read_shard(shard: Path, *columns: str) -> pa.Table:
    try:
        return _read_columns(shard, *columns)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(shard, error) from None


def _damaged(shard: object, error: Exception, remedy: str = RESTORE) -> DataError:
    return DataError(f"{shard} is damaged ({' '.join(str(error).split())}). {remedy}")


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of a folder in order."""
    return sorted(folder.glob("part-*.parquet"))


def read_contents(shard: Path, rows: list[int] | None = None) -> list[bytes]:
    """Return the image bytes of a shard, all or those of `rows`, in that order.

    Raises:
        DataError: the shard is damaged.
    """
    column = _read_shard(shard, "image")["image"]
    if rows is not None:
        column = column.take(pa.array(rows, type=pa.int64()))
    return [image["bytes"] for image in column.to_pylist()]


def contents_in(shard: bytes, name: str) -> list[bytes]:
    """Return the image bytes of a shard that was read already, in order.

    Raises:
        DataError: the shard is damaged.
    """
    try:
        table = _read_columns(pa.BufferReader(shard), "image")
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, error, "Send it to the storage again.") from None
    return [image["bytes"] for image in table["image"].to_pylist()]


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


def count_rows(place: Path) -> int:
    """Return how many patches a shard, or a folder of shards, holds, without reading them."""
    shards = [place] if place.is_file() else shard_files(place)
    return sum(pq.read_metadata(shard).num_rows for shard in shards)
