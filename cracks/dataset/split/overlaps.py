"""Find tiles that overlap: cut from one photograph a part of their side apart, as `/inspect` does.

The strip at the right border of a tile shows what the strip at the left border of its neighbour
shows, so its fingerprint is the nearest one; whether the tiles really overlap, the pixels tell.

Source: the check is the template matching by normalised correlation of Lewis, "Fast Template
Matching" (Vision Interface, 1995), of what is left when the light and the tone are taken away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.dataset.border_strips import SHARE, Strips
from cracks.dataset.fingerprints import STEP, Pairs

#: Largest distance of two strips, as a part of the weaker pattern.
MAX_RATIO = 0.6

#: Share of the side of a tile in which its neighbour's border is looked for.
SEARCHED = 0.5

#: Share of the side that is looked for: somewhat less than what tiles have in common.
TEMPLATE = 0.7 * SHARE

#: Tone and light change more slowly than this, as a share of the side (standard deviation).
SLOW = 0.026


def overlap_candidates(strips: Strips) -> Pairs:
    """Return pairs of patches whose opposite borders are alike, (m, 2).

    At most two to a patch: the nearest to its left, and the nearest above it.

    Args:
        strips: int16 (n, 4, NUMBERS).
    """
    if len(strips) < 2:
        return np.zeros((0, 2), np.int64)
    left, right, top, bottom = (strips[:, side].astype(np.float32) * STEP for side in range(4))
    found = np.concatenate([_nearest(left, right), _nearest(top, bottom)])
    return np.unique(np.sort(found, axis=1), axis=0)


def _nearest(
    strips: npt.NDArray[np.float32], opposite: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Return each patch with that whose opposite strip is nearest, if it is near, (m, 2)."""
    from scipy.spatial import KDTree

    rows = np.arange(len(strips))
    distances, found = KDTree(opposite).query(strips, k=2, workers=-1)
    # A patch is no neighbour of itself.
    column = (found[:, 0] == rows).astype(int)
    found, distances = found[rows, column], distances[rows, column]
    near = distances < MAX_RATIO * np.minimum(_pattern(strips), _pattern(opposite)[found])
    pairs: npt.NDArray[np.int64] = np.stack([rows, found], axis=1)[near]
    return pairs


def _pattern(strips: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how much the grey values of a strip differ, (n,)."""
    return np.asarray(np.linalg.norm(strips[:, 1:], axis=1), np.float32)


def overlap_correlation(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return how well the border of one picture is found in the other, -1 to 1.

    Looked for are all four borders of `right`, each in the opposite part of `left`.

    Args:
        left: grey (side, side).
        right: grey (side, side).
    """
    first, second = (_without_light(picture) for picture in (left, right))
    ways = ((first, second), (second, first), (first.T, second.T), (second.T, first.T))
    return max(_found(before, after) for before, after in ways)


def _found(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> float:
    import cv2

    side = before.shape[1]
    searched = np.ascontiguousarray(before[:, -round(SEARCHED * side) :])
    template = np.ascontiguousarray(after[:, : round(TEMPLATE * side)])
    return float(cv2.matchTemplate(searched, template, cv2.TM_CCOEFF_NORMED).max())


def _without_light(picture: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    import cv2

    pixels = picture.astype(np.float32)
    slow = cv2.GaussianBlur(pixels, (0, 0), SLOW * picture.shape[0])
    return np.asarray(pixels - slow, np.float32)
