"""The reference: what the champion's network says of held-out patches, to compare answers with.

    reference.parquet   in the bundle: a few thousand patches of validation and test, a row each

They are drawn patch by patch, so that every photograph counts for as much as it has patches; and
each keeps its group, since patches of one photograph are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.inference.bundle.bundle_tables import read_bundle_table
from cracks.monitoring.prediction_log.feature_projection import DIMENSIONS
from cracks.workspace.tables import write_table

#: Patches of a reference, about: 4,000 take 0.6 MB.
MOST_PATCHES = 4000

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """Held-out patches, sorted by group."""

    ids: list[str]
    groups: npt.NDArray[np.int32]  # (n,), numbers from 0 on
    cracked: npt.NDArray[np.bool_]  # (n,), by their label
    scores: npt.NDArray[np.float64]  # (n,), calibrated
    novel: npt.NDArray[np.bool_]  # (n,)
    sketches: Floats  # (n, 64)

    def __len__(self) -> int:
        return len(self.ids)


def choose_reference(
    ids: Sequence[str],
    groups: Sequence[str],
    cracked: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float64],
    novel: npt.NDArray[np.bool_],
    sketches: Floats,
    most: int = MOST_PATCHES,
) -> Reference:
    """Return a reference of held-out patches: those of the smallest ids, a draw as ids are digests.

    Not of the smallest names of groups: a group is named after its smallest id, so that large ones
    would come first.

    Args:
        ids: of n patches, digests.
        groups: (n,) names of what stands together.
        cracked: (n,) labels.
        scores: (n,) calibrated.
        novel: (n,) whether each was flagged.
        sketches: float32 (n, 64).
        most: patches that are kept.
    """
    drawn = np.argsort(np.asarray(ids))[:most]
    number = np.unique(np.asarray(groups)[drawn], return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    kept = drawn[order]
    return Reference(
        [ids[i] for i in kept],
        number[order].astype(np.int32),
        cracked[kept],
        scores[kept],
        novel[kept],
        sketches[kept],
    )


def reference_from(scores: pa.Table, splits: pa.Table) -> Reference:
    """Return the reference of what `evaluate` found.

    Args:
        scores: one row a patch of validation and test: id, cracked, score, novel, sketch.
        splits: id and group of every patch.
    """
    group_of = dict(zip(splits["id"].to_pylist(), splits["group"].to_pylist(), strict=True))
    ids = scores["id"].to_pylist()
    return choose_reference(
        ids,
        [group_of[id_] for id_ in ids],
        scores["cracked"].to_numpy(),
        scores["score"].to_numpy(),
        scores["novel"].to_numpy(),
        sketches_of(scores),
    )


def write_reference(reference: Reference, file: Path) -> None:
    """Write a reference, whole or not at all; equal contents give equal bytes."""
    columns = {
        "id": pa.array(reference.ids, pa.string()),
        "group": pa.array(reference.groups),
        "cracked": pa.array(reference.cracked),
        "score": pa.array(reference.scores),
        "novel": pa.array(reference.novel),
        "sketch": as_column(reference.sketches),
    }
    write_table(pa.table(columns), file)


def read_reference(file: Path) -> Reference:
    """Return the reference in a file.

    Raises:
        BundleError: it is missing or damaged.
    """
    table = read_bundle_table(file)
    return Reference(
        table["id"].to_pylist(),
        table["group"].to_numpy(),
        table["cracked"].to_numpy(),
        table["score"].to_numpy(),
        table["novel"].to_numpy(),
        sketches_of(table),
    )


def as_column(sketches: Floats) -> pa.Array:
    """Return sketches (n, 64) as a column, in half precision as the record of answers has them."""
    # No list of fixed size: pyarrow 25 writes one with a null, but cannot read it.
    largest = np.finfo(np.float16).max
    halves = pa.array(np.clip(sketches, -largest, largest).astype(np.float16).ravel())
    offsets = pa.array(np.arange(len(sketches) + 1) * DIMENSIONS, pa.int32())
    return pa.ListArray.from_arrays(offsets, halves)


def sketches_of(table: pa.Table) -> Floats:
    """Return the sketches (n, 64) in the column that `as_column` made."""
    flat = table["sketch"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(-1, DIMENSIONS)
