"""Find out where a network looks: cover one place of a patch after the other, and score again.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014),
section 4.2. They cover with a grey square, which on clean concrete looks like damage itself: its
straight dark edges are what a crack classifier looks for. Here the cover is made of the concrete
around: its shade and tint (the local median, which a thin dark crack hardly moves) and its grain.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from cracks.evaluation.behaviour_tests import Predict, batched
from cracks.images.decode import Pixels

#: float32 (n, rows, columns): how much log-odds of a crack each place contributes.
Maps = npt.NDArray[np.float32]

BATCH_SIZE: Final = 8

#: float32 scores, as networks give them, are not told apart from 1 any nearer to it.
NEAREST_TO_CERTAIN: Final = 1e-7

#: Pixels to each side that OpenCV's median can look at.
WIDEST_REACH: Final = 127

#: Pixels outside the window over which the cover fades into the patch. A hard seam would be a line.
SEAM: Final = 10


def occlusion_maps(patches: Pixels, predict: Predict, window: int, stride: int) -> Maps:
    """Return by how much the log-odds of a crack fall when a place of a patch is covered.

    Log-odds and not scores: a score of 0.9999 hardly moves while half of what speaks for a crack is
    covered. Positive means that the place speaks for a crack. Negative means that the patch looks
    more like a crack without it: on a wide crack often, of which a narrow rest is then left.

    Args:
        patches: uint8 RGB (n, size, size, 3).
        predict: called once, with 1 + rows × columns variants of each patch.
        window: side of the covered square in pixels, at most `size`. A third of it covers a good
            part of a wide crack; what is much smaller leaves enough of it to be as sure as before.
        stride: pixels from one place to the next at most; see `places`.

    Returns:
        float32 (n, rows, columns), rows and columns being as many as `places`.
    """
    from scipy.special import logit

    size = patches.shape[1]
    starts = places(size, window, stride)

    def variants() -> Iterator[Pixels]:
        for pixels in patches:
            yield pixels
            yield from _covered_everywhere(pixels, starts, window)

    scores = predict(batched(variants(), BATCH_SIZE))
    inside = np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN)
    log_odds = logit(inside).reshape(len(patches), 1 + len(starts) ** 2)
    drops = log_odds[:, :1] - log_odds[:, 1:]
    return np.asarray(drops.reshape(len(patches), len(starts), len(starts)), np.float32)


def places(size: int, window: int, stride: int) -> list[int]:
    """Return where covered squares begin along one side, evenly from edge to edge, in pixels."""
    count = -(-(size - window) // stride) + 1
    return [int(start) for start in np.linspace(0, size - window, count).round()]


def _covered_everywhere(pixels: Pixels, starts: list[int], window: int) -> Iterator[Pixels]:
    cover = _cover(pixels, window)
    for top in starts:
        for left in starts:
            share = _share_covered(len(pixels), top, left, window)
            yield np.asarray((pixels + share * (cover - pixels)).round().clip(0, 255), np.uint8)


def _cover(pixels: Pixels, window: int) -> npt.NDArray[np.float32]:
    shade = _local_median(pixels, window).astype(np.float32)
    detail = pixels - shade
    # What half of all pixels do not exceed is grain; a crack is cut down to that depth.
    grain = np.median(np.abs(detail))
    return np.asarray(shade + np.clip(detail, -grain, grain), np.float32)


def _local_median(pixels: Pixels, window: int) -> Pixels:
    import cv2

    # Over the covered square and its surroundings, so that a crack is the smaller part. Mirrored at
    # the edge: repeated, a crack along the edge would become the larger part.
    reach = min(window, len(pixels) - 1, WIDEST_REACH)
    wider = cv2.copyMakeBorder(pixels, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    middle = slice(reach, reach + len(pixels))
    return np.asarray(cv2.medianBlur(wider, 2 * reach + 1)[middle, middle], np.uint8)


def _share_covered(size: int, top: int, left: int, window: int) -> npt.NDArray[np.float32]:
    pixel = np.arange(size, dtype=np.float32) + 0.5

    def along(start: int) -> npt.NDArray[np.float32]:
        inside = np.minimum(pixel - start, start + window - pixel)
        return np.asarray(np.clip(1 + inside / SEAM, 0, 1), np.float32)

    return np.asarray(along(top)[:, None, None] * along(left)[None, :, None], np.float32)
