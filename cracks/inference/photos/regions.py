"""Regions of a grid: cells that touch each other, at a side or at a corner."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: top, left, bottom, right in cells; bottom and right are outside.
CellBox = tuple[int, int, int, int]
#: A row, and the first and the last column + 1 of cells in it without a gap.
_Run = tuple[int, int, int]


def connected_regions(marked: npt.NDArray[np.bool_]) -> list[CellBox]:
    """Return the boxes around the regions of marked cells, from the top down.

    The cells are taken run by run and runs that touch are united, so the time depends on the
    number of runs and not on that of cells.

    Args:
        marked: bool (rows, columns).

    Source: He, Chao, Suzuki, "A Run-Based Two-Scan Labeling Algorithm", IEEE Transactions on Image
    Processing 17 (2008).
    """
    runs = _runs(marked)
    parent = list(range(len(runs)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for above, below in _touching(runs):
        first, second = sorted((root(above), root(below)))
        parent[second] = first
    boxes: dict[int, CellBox] = {}
    for number, (row, left, right) in enumerate(runs):
        top, first_left, bottom, last_right = boxes.get(root(number), (row, left, row, right))
        boxes[root(number)] = (
            top,
            min(first_left, left),
            max(bottom, row + 1),
            max(last_right, right),
        )
    return [boxes[number] for number in sorted(boxes)]


def _runs(marked: npt.NDArray[np.bool_]) -> list[_Run]:
    padded = np.pad(marked.astype(np.int8), ((0, 0), (1, 1)))
    changes = np.diff(padded, axis=1)
    rows, starts = np.nonzero(changes == 1)
    _, ends = np.nonzero(changes == -1)
    return list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))


def _touching(runs: list[_Run]) -> list[tuple[int, int]]:
    """Return the pairs of runs in neighbouring rows that touch; runs are sorted."""
    pairs, above = [], 0
    for below, (row, left, right) in enumerate(runs):
        # Runs that end before this one begins cannot touch a later one of the same row either.
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] < left):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] <= right:
            pairs.append((other, below))
            other += 1
    return pairs
