"""A heat map over a photograph: how sure the classifier is of a crack, place by place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.inference.photos.tiling import Tiling

#: Cells of the map along the side of a patch: finer than where patches begin and end.
CELLS_OF_PATCH = 8

#: A cell of a cracked patch that is this close to the patch's hottest one counts as its hottest.
NEARLY = 0.95


@dataclass(frozen=True)
class HeatMap:
    """A coarse grid over a photograph; its last row and column may be narrower."""

    cell: int  # pixels of a cell's side
    heat: npt.NDArray[np.float64]  # (rows, columns), the mean score of the patches there
    cracked: npt.NDArray[np.bool_]  # (rows, columns)
    widths: npt.NDArray[np.int64]  # (columns,) pixels
    heights: npt.NDArray[np.int64]  # (rows,) pixels

    @property
    def crack_share(self) -> float:
        """The share of the photograph's area that is cracked, 0 to 1."""
        area = self.heights @ self.cracked @ self.widths
        return float(area / (self.heights.sum() * self.widths.sum()))


def heat_map(tiling: Tiling, scores: npt.NDArray[np.float64], threshold: float) -> HeatMap:
    """Return the heat map of a photograph.

    A cell is cracked where the mean of its patches reaches the threshold. Where a crack is seen by
    one of several overlapping patches only, the mean may nowhere reach it; then the hottest cells
    of that patch are cracked, so that every patch predicted `crack` shows on the map.

    Args:
        tiling: where the patches lie.
        scores: (n,) of the patches.
        threshold: score from which on a patch is cracked.
    """
    cell = max(1, tiling.size // CELLS_OF_PATCH)
    columns, rows = _edges(tiling.width, cell), _edges(tiling.height, cell)
    covered = _covered(tiling, columns, rows)
    total, patches = np.zeros((2, len(rows) - 1, len(columns) - 1))
    for place, score in zip(covered, scores, strict=True):
        total[place] += score
        patches[place] += 1
    heat = total / patches
    cracked = heat >= threshold
    for place, score in zip(covered, scores, strict=True):
        if score >= threshold and not cracked[place].any():
            cracked[place] |= heat[place] >= NEARLY * heat[place].max()
    return HeatMap(cell, heat, cracked, np.diff(columns), np.diff(rows))


def _edges(length: int, cell: int) -> npt.NDArray[np.int64]:
    return np.append(np.arange(0, length, cell), length)


def _covered(
    tiling: Tiling, columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> list[tuple[slice, slice]]:
    """Return the cells whose centre each patch shows."""
    x, y, width, height = tiling.boxes.T
    return [
        (slice(top, bottom), slice(left, right))
        for top, bottom, left, right in zip(
            *_between(rows, y, y + height), *_between(columns, x, x + width), strict=True
        )
    ]


def _between(
    edges: npt.NDArray[np.int64], start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> tuple[list[int], list[int]]:
    centres = (edges[:-1] + edges[1:]) / 2
    return np.searchsorted(centres, start).tolist(), np.searchsorted(centres, end).tolist()
