"""Find re-crops: the same piece of a photograph, cut out a few pixels further on.

The magnitudes of a picture's low frequencies hardly change when it is moved a little, so a re-crop
is among the nearest neighbours by them; whether it really is one, the pixels tell.

Sources: the magnitudes of Reddy and Chatterji, "An FFT-Based Technique for Translation, Rotation,
and Scale-Invariant Image Registration" (IEEE Transactions on Image Processing 5, 1996); the check
is the phase correlation of Kuglin and Hines, "The Phase Correlation Image Alignment Method" (IEEE
Conference on Cybernetics and Society, 1975).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import BLOCK, REDUCED, Fingerprints, Pairs, blocks_of

#: Neighbours that are looked at, and the largest distance, as a part of the weaker pattern.
NEIGHBOURS, MAX_RATIO = 3, 0.5

#: Cycles across a patch up to which magnitudes are compared.
CYCLES = 3


def recrop_candidates(fingerprints: Fingerprints) -> Pairs:
    """Return pairs of patches that are each other's near neighbours by their magnitudes, (m, 2).

    Their number grows with that of the patches, not with its square.
    """
    from scipy.spatial import KDTree

    count = len(fingerprints)
    if count < 2:
        return np.zeros((0, 2), np.int64)
    magnitudes = _magnitudes(fingerprints)
    _, found = KDTree(magnitudes).query(magnitudes, k=min(NEIGHBOURS + 1, count), workers=-1)
    found = np.reshape(found, (count, -1))
    pairs = np.stack([np.repeat(np.arange(count), found.shape[1]), found.ravel()], axis=1)
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    unique, times = np.unique(pairs, axis=0, return_counts=True)
    mutual = unique[times > 1]
    distance = np.linalg.norm(magnitudes[mutual[:, 0]] - magnitudes[mutual[:, 1]], axis=1)
    pattern = np.linalg.norm(magnitudes[:, 1:], axis=1)
    near: Pairs = mutual[distance < MAX_RATIO * pattern[mutual].min(axis=1)]
    return near


def response(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return the highest peak of the phase correlation over the four ways to mirror `right`.

    Args:
        left: grey (side, side).
        right: grey (side, side).
    """
    import cv2

    window = cv2.createHanningWindow(left.shape[:2], cv2.CV_32F)
    still = left.astype(np.float32)
    moved = (variant.astype(np.float32) for variant in _mirrored(right))
    # Pictures of a size that is fast to transform are windowed in place: each call has its own.
    return max(cv2.phaseCorrelate(still.copy(), variant, window)[1] for variant in moved)


def _mirrored(picture: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for rows in (picture, picture[::-1]):
        yield rows
        yield np.ascontiguousarray(rows[:, ::-1])


def _magnitudes(fingerprints: Fingerprints) -> npt.NDArray[np.float32]:
    """Return mean grey value and magnitudes, unchanged by mirroring and turning, (n, 25)."""
    blocks = blocks_of(fingerprints)
    means = blocks[:, 0, 0].copy()
    blocks[:, 0, 0] = 0
    to_spectrum = _from_cosines()
    spectrum = np.abs(np.einsum("ui,nij,vj->nuv", to_spectrum, blocks, to_spectrum, optimize=True))
    columns = [means]
    for high in range(1, CYCLES + 1):
        for low in range(high + 1):
            columns += _sorted_magnitudes(spectrum, high, low)
    return np.stack(columns, axis=1).astype(np.float32)


def _sorted_magnitudes(
    spectrum: npt.NDArray[np.float32], high: int, low: int
) -> list[npt.NDArray[np.float32]]:
    """Return the magnitudes that mirroring and turning exchange with one another, sorted."""
    middle = CYCLES
    same = {(high, low), (high, -low), (low, high), (low, -high)}
    # A frequency and its negative have one magnitude.
    distinct = {max(pair, (-pair[0], -pair[1])) for pair in same}
    values = [spectrum[:, middle + row, middle + column] for row, column in sorted(distinct)]
    return list(np.sort(np.stack(values), axis=0))


def _from_cosines() -> npt.NDArray[np.complex64]:
    """Return the matrix (2 CYCLES + 1, BLOCK) from cosine to windowed Fourier coefficients."""
    pixel = np.arange(REDUCED)
    order = np.arange(BLOCK)[:, None]
    scale = np.sqrt(np.where(order == 0, 1, 2) / REDUCED)
    cosines = scale * np.cos(np.pi * (2 * pixel + 1) * order / (2 * REDUCED))
    window = np.hanning(REDUCED + 2)[1:-1]
    cycles = np.arange(-CYCLES, CYCLES + 1)
    waves = np.exp(-2j * np.pi * np.outer(cycles, pixel) / REDUCED) * window / window.sum()
    return np.asarray(np.sqrt(REDUCED) * waves @ np.transpose(cosines), np.complex64)
