"""Fingerprints of a patch's borders, by which tiles that overlap find each other.

Each is the lowest spatial frequencies of one border strip, as `cracks.dataset.fingerprints` keeps
them of the whole patch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import lowest_frequencies

#: Width of a strip, as a share of the side: what neighbours have in common where `/inspect` cuts.
SHARE: Final = 0.25

#: Size in pixels of a reduced strip, along the border and across, and what is kept of it.
REDUCED, BLOCK = (32, 8), (12, 2)

#: Numbers of one strip.
NUMBERS = BLOCK[0] * BLOCK[1]

#: The strips of a patch, in their order. The first of a pair meets the second of its neighbour.
SIDES: Final = ("left", "right", "top", "bottom")

Strips = npt.NDArray[np.int16]  # (n, 4, NUMBERS), in steps of `fingerprints.STEP` grey values


def border_strips(grey: npt.NDArray[Any]) -> Strips:
    """Return the fingerprints of the four border strips of a picture as int16 (4, NUMBERS).

    Args:
        grey: (side, side).
    """
    width = round(grey.shape[0] * SHARE)
    upright = (grey[:, :width], grey[:, -width:], grey[:width].T, grey[-width:].T)
    return np.stack([_frequencies(strip) for strip in upright])


def _frequencies(strip: npt.NDArray[Any]) -> Strips:
    import cv2

    along, across = REDUCED
    pixels = np.ascontiguousarray(strip, np.float32)
    reduced = cv2.resize(pixels, (across, along), interpolation=cv2.INTER_AREA)
    return lowest_frequencies(reduced, BLOCK)
