"""The patches of a split with their images and recorded scores, to score them again elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from cracks.dataset.shards import contents_of, rows_of
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table


@dataclass(frozen=True)
class ScoredPatches:
    """The distinct patches of one split, sorted by id."""

    ids: list[str]
    groups: list[str]  # (n,) names; patches of one group are no independent evidence
    contents: list[bytes]
    cracked: npt.NDArray[np.bool_]  # (n,)
    raw: npt.NDArray[np.float64]  # (n,), scores as evaluate had them from the network
    scores: npt.NDArray[np.float64]  # (n,), as evaluate calibrated them

    def part(self, chosen: Sequence[int]) -> ScoredPatches:
        """Return the patches at some positions."""
        return ScoredPatches(
            [self.ids[i] for i in chosen],
            [self.groups[i] for i in chosen],
            [self.contents[i] for i in chosen],
            self.cracked[list(chosen)],
            self.raw[list(chosen)],
            self.scores[list(chosen)],
        )


def scored_patches(paths: Paths, split: str) -> ScoredPatches:
    """Return the patches of `split` that evaluate scored.

    Raises:
        WorkspaceError: evaluate has not run.
    """
    table = read_table(paths.scores)
    table = table.filter(pc.equal(table["split"], split))
    ids, splits = table["id"].to_pylist(), read_table(paths.splits)
    rows = rows_of(ids, read_table(paths.manifest))
    group_of = dict(zip(splits["id"].to_pylist(), splits["group"].to_pylist(), strict=True))
    return ScoredPatches(
        ids,
        [group_of[id_] for id_ in ids],
        contents_of(rows, paths.images),
        table["cracked"].to_numpy(),
        table["raw_score"].to_numpy(),
        table["score"].to_numpy(),
    )
