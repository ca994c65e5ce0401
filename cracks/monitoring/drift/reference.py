"""What the bundle keeps of patches, to compare predictions with: a few thousand, a row each.

    reference.parquet    what the champion's network says of patches of validation and test
    neighbours.parquet   training patches, to show what a predicted photograph is nearest to

They are drawn patch by patch, so that every photograph counts for as much as it has patches; and
those of the reference keep their group, since patches of one photograph are no independent
evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.inference.bundle.bundle_tables import read_bundle_table
from cracks.monitoring.prediction_log.feature_projection import (
    sketch,
    sketch_column,
    sketches_of,
)
from cracks.workspace.tables import write_table

#: Patches of each, at most: 4,000 take 0.7 MB.
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


@dataclass(frozen=True)
class Neighbours:
    """Training patches, sorted by id."""

    ids: list[str]
    cracked: npt.NDArray[np.bool_]  # (n,), by their label
    sketches: Floats  # (n, 64)


#: The columns of a file, by the field.
_COLUMNS = {
    "ids": "id",
    "groups": "group",
    "cracked": "cracked",
    "scores": "score",
    "novel": "novel",
    "sketches": "sketch",
}


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
    would come first. The arguments are those of n patches, as `Reference` has them; groups are
    names, and at most `most` patches are kept.
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
    """Return the reference of what `evaluate` found, from its scores and the groups of `splits`."""
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


def choose_neighbours(
    ids: Sequence[str], cracked: npt.NDArray[np.bool_], features: Floats, most: int = MOST_PATCHES
) -> Neighbours:
    """Return the training patches of the smallest ids, which is a draw since ids are digests.

    The features (n, channels) are those of the champion's network.
    """
    kept = np.argsort(np.asarray(ids))[:most]
    return Neighbours([ids[i] for i in kept], cracked[kept], sketch(features[kept]))


def write_patches(patches: Reference | Neighbours, file: Path) -> None:
    """Write a reference or neighbours, whole or not at all; equal contents give equal bytes."""
    columns = {
        _COLUMNS[name]: sketch_column(values) if name == "sketches" else pa.array(values)
        for name, values in vars(patches).items()
    }
    write_table(pa.table(columns), file)


def read_reference(file: Path) -> Reference:
    """Return the reference in a file.

    Raises:
        BundleError: it is missing or damaged.
    """
    return Reference(**_read(file))


def read_neighbours(file: Path) -> Neighbours:
    """Return the neighbours in a file; raises as `read_reference`."""
    return Neighbours(**_read(file))


def _read(file: Path) -> dict[str, Any]:
    table = read_bundle_table(file)
    numbers = {
        name: table[column].to_numpy()
        for name, column in _COLUMNS.items()
        if column in table.column_names and name not in ("ids", "sketches")
    }
    return {"ids": table["id"].to_pylist(), **numbers, "sketches": sketches_of(table)}
