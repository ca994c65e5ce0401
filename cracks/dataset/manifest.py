"""The manifest: one row a file, the place of its bytes in the shards, the facts about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cracks.dataset.border_strips import NUMBERS, SIDES, Strips
from cracks.dataset.fingerprints import BLOCK, Fingerprints
from cracks.dataset.patch_facts import PatchFacts
from cracks.errors import WorkspaceError
from cracks.workspace.tables import read_table

#: Raised when inspection gives other facts of the same bytes; older facts are then not used again.
INSPECTION_VERSION = 4

FACTS = pa.schema(
    [
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("format", pa.string()),
        ("orientation", pa.int16()),
        ("camera", pa.string()),
        ("exposed", pa.timestamp("ms")),
        ("size_bytes", pa.int64()),
        ("bytes_per_pixel", pa.float64()),
        ("brightness", pa.float64()),
        ("contrast", pa.float64()),
        ("sharpness", pa.float64()),
        ("red_minus_green", pa.float64()),
        ("green_minus_blue", pa.float64()),
        ("saturated", pa.float64()),
        ("fingerprint", pa.binary(2 * BLOCK * BLOCK)),
        ("borders", pa.binary(2 * len(SIDES) * NUMBERS)),
    ]
)

#: Where a patch comes from; None where nothing tells the photograph, the way it is known, the time.
PROVENANCE = pa.schema(
    [
        ("photo", pa.string()),
        ("photo_by", pa.string()),
        ("site", pa.string()),
        ("taken", pa.timestamp("ms")),
    ]
)

#: In `photo_by`: the patch lies at an end of a run, and may be of the photograph beside it.
UNCERTAIN: Final = "end of a sequence"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        *PROVENANCE,
        *FACTS,
    ],
    metadata={"inspection_version": str(INSPECTION_VERSION)},
)

QUARANTINE_COLUMNS = ("source", "path", "label", "reason")

#: Rows in one row group of the file.
ROW_GROUP = 8192


class ManifestWriter:
    """Write the manifest row by row, so that a data set of any size fits in memory."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take one row, a value for each column of `SCHEMA`."""
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._write()

    def close(self) -> None:
        """Write the remaining rows and end the file."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(manifest_table(self._rows))
        self._rows = []


class KnownFacts:
    """The facts of an earlier manifest by id, so that no patch is inspected twice."""

    def __init__(self, manifest: pa.Table) -> None:
        self._facts = manifest.select(FACTS.names)
        self._row_of = {
            bytes.fromhex(id_): row for row, id_ in enumerate(manifest["id"].to_pylist())
        }

    def of(self, ids: Sequence[str]) -> list[PatchFacts | None]:
        """Return what is known of each patch, or None."""
        rows = [self._row_of.get(bytes.fromhex(id_)) for id_ in ids]
        known = [row for row in rows if row is not None]
        found = iter(self._facts.take(pa.array(known, pa.int64())).to_pylist())
        return [None if row is None else PatchFacts(**next(found)) for row in rows]


def known_facts(path: Path) -> KnownFacts:
    """Return the facts of the manifest at `path`; none, if it is missing, damaged or outdated."""
    try:
        manifest = read_table(path)
        manifest.validate(full=True)
        if manifest.schema.equals(SCHEMA, check_metadata=True):
            return KnownFacts(manifest)
    except (WorkspaceError, ValueError):  # ValueError: no text, or no hexadecimal digits
        pass
    return KnownFacts(SCHEMA.empty_table())


def manifest_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return the rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def with_column(table: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    """Return the table with other values in a column, of the type that it has."""
    field = table.schema.field(name)
    place = table.schema.get_field_index(name)
    return table.set_column(place, field, pa.array(values, field.type))


def rewrite_manifest(manifest: pa.Table, path: Path) -> None:
    """Write a whole manifest as `ManifestWriter` would have written its rows."""
    pq.write_table(manifest.combine_chunks(), path, row_group_size=ROW_GROUP)


def fingerprints_of(manifest: pa.Table) -> Fingerprints:
    """Return the fingerprints of the manifest's rows, int16 (n, 64)."""
    return _numbers_in(manifest["fingerprint"]).reshape(-1, BLOCK * BLOCK)


def strips_of(manifest: pa.Table) -> Strips:
    """Return the fingerprints of the borders of the manifest's rows, int16 (n, 4, NUMBERS)."""
    return _numbers_in(manifest["borders"]).reshape(-1, len(SIDES), NUMBERS)


def _numbers_in(column: pa.ChunkedArray) -> npt.NDArray[np.int16]:
    return np.frombuffer(b"".join(column.to_pylist()), np.int16)


def distinct_rows(manifest: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first row of each distinct patch, sorted by id, and the patch of each row."""
    ids = manifest["id"].to_numpy()
    _, first, patch = np.unique(ids, return_index=True, return_inverse=True)
    return first, patch


def numbers_of(manifest: pa.Table, *columns: str) -> dict[str, npt.NDArray[np.float64]]:
    """Return columns of numbers by name, each float64 (n,)."""
    return {column: manifest[column].to_numpy().astype(np.float64) for column in columns}
