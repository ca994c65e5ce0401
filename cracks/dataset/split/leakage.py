"""Measure how much of the test split stands in train too, under a given way of splitting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import NearCopies, nearest
from cracks.dataset.labels import SPLITS
from cracks.dataset.split.grouping import Likeness
from cracks.workspace.stage_reports import Leakage, LeakageReport

#: Draws the random split that the real one is compared with.
SEED = 0

#: Test patches whose nearest in train are searched, evenly picked.
SAMPLE = 2000

TRAIN, TEST = SPLITS[0], SPLITS[-1]


def leakage(
    sides: npt.NDArray[np.str_], pictures: npt.NDArray[np.int64], photos: npt.NDArray[np.int64]
) -> Leakage:
    """Return the shares of test files that train also has; None where nothing is known.

    Args:
        sides: (f,) the split of each file.
        pictures: (f,) the same number for files that show the same picture.
        photos: (f,) the same number for files that were cut from the same photograph, as far as
            that is known by other means than the split; -1 where it is not.
    """
    known = photos >= 0
    return {
        "same_picture_in_train": _shared(sides, pictures),
        "same_photograph_in_train": _shared(sides[known], photos[known]),
    }


def random_sides(files: int, shares: Sequence[float]) -> npt.NDArray[np.str_]:
    """Return what published numbers use: every file assigned by itself, whatever it shows."""
    return np.random.default_rng(SEED).choice(SPLITS, size=files, p=list(shares))


def leakage_report(
    sides: npt.NDArray[np.str_],
    pictures: npt.NDArray[np.int64],
    photos: npt.NDArray[np.int64],
    shares: Sequence[float],
) -> LeakageReport:
    """Return the leakage of a split beside that of a random one of the same shares."""
    return {
        "this_split": leakage(sides, pictures, photos),
        "random_split": leakage(random_sides(len(sides), shares), pictures, photos),
    }


def nearest_pairs(likeness: Likeness, sides: npt.NDArray[np.str_], count: int) -> NearCopies:
    """Return the `count` pairs of a test and a train patch that look most alike.

    Args:
        likeness: the distinct patches.
        sides: (n,) the split of each.
        count: how many pairs at most; of a large test split a sample is searched.
    """
    tested, others = (np.flatnonzero(sides == side) for side in (TEST, TRAIN))
    if not len(tested) or not len(others):
        return NearCopies(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    tested = tested[np.linspace(0, len(tested) - 1, min(len(tested), SAMPLE)).astype(int)]
    found = nearest(likeness.fingerprints, tested, others)
    best = np.argsort(found.distances, kind="stable")[:count]
    return NearCopies(found.pairs[best], found.distances[best])


def _shared(sides: npt.NDArray[np.str_], names: npt.NDArray[np.int64]) -> float | None:
    tested = names[sides == TEST]
    if not len(tested):
        return None
    return round(float(np.isin(tested, names[sides == TRAIN]).mean()), 5)
