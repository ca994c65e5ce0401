"""Neighbours: training patches, to show what an answered photograph is nearest to.

neighbours.parquet   in the bundle: a few thousand of them, a row each
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.inference.bundle.bundle_tables import read_bundle_table
from cracks.monitoring.drift.reference import Floats, as_column, sketches_of
from cracks.monitoring.prediction_log.feature_projection import sketch
from cracks.workspace.tables import write_table

#: Patches, at most: 4,000 take 0.7 MB.
MOST_PATCHES = 4000


@dataclass(frozen=True)
class Neighbours:
    """Training patches, sorted by id."""

    ids: list[str]
    cracked: npt.NDArray[np.bool_]  # (n,), by their label
    sketches: Floats  # (n, 64)


def choose_neighbours(
    ids: Sequence[str],
    cracked: npt.NDArray[np.bool_],
    features: Floats,
    most: int = MOST_PATCHES,
) -> Neighbours:
    """Return the training patches of the smallest ids, which is a draw since ids are digests.

    Args:
        ids: of n patches, digests.
        cracked: (n,) labels.
        features: (n, channels), of the network that answers.
        most: patches that are kept.
    """
    kept = np.argsort(np.asarray(ids))[:most]
    return Neighbours([ids[i] for i in kept], cracked[kept], sketch(features[kept]))


def write_neighbours(neighbours: Neighbours, file: Path) -> None:
    """Write neighbours, whole or not at all; equal contents give equal bytes."""
    columns = {
        "id": pa.array(neighbours.ids, pa.string()),
        "cracked": pa.array(neighbours.cracked),
        "sketch": as_column(neighbours.sketches),
    }
    write_table(pa.table(columns), file)


def read_neighbours(file: Path) -> Neighbours:
    """Return the neighbours in a file.

    Raises:
        BundleError: it is missing or damaged.
    """
    table = read_bundle_table(file)
    return Neighbours(table["id"].to_pylist(), table["cracked"].to_numpy(), sketches_of(table))
