"""The patches of a split with their images and recorded scores, to score them again elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from cracks.paths import Paths
from cracks.shards import contents_of, rows_of
from cracks.tables import read_table


@dataclass(frozen=True)
class ScoredPatches:
    """The distinct patches of one split, sorted by id."""

    contents: list[bytes]
    cracked: npt.NDArray[np.bool_]  # (n,)
    raw: npt.NDArray[np.float64]  # (n,), scores as evaluate had them from the network
    scores: npt.NDArray[np.float64]  # (n,), as evaluate calibrated them


def scored_patches(paths: Paths, split: str) -> ScoredPatches:
    """Return the patches of `split` that evaluate scored.

    Raises:
        WorkspaceError: evaluate has not run.
    """
    table = read_table(paths.scores)
    table = table.filter(pc.equal(table["split"], split))
    rows = rows_of(table["id"].to_pylist(), read_table(paths.manifest))
    return ScoredPatches(
        contents_of(rows, paths.images),
        table["cracked"].to_numpy(),
        table["raw_score"].to_numpy(),
        table["score"].to_numpy(),
    )
