"""Compare the pictures of patches that seem alike, and keep the pairs that are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import Pairs
from cracks.system.console import Advance

#: Side in pixels of the pictures that are compared.
COMPARED = 114

#: Pairs whose pictures are in memory at a time.
CHUNK = 2000

#: Returns the grey pictures of some patches, each uint8 (COMPARED, COMPARED).
Load = Callable[[Sequence[int]], list[npt.NDArray[np.uint8]]]

#: Returns how well two grey pictures agree; 1 is as well as can be.
Agreement = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]


def confirmed(
    candidates: Pairs, load: Load, agreement: Agreement, least: float, advance: Advance
) -> Pairs:
    """Return the pairs whose pictures agree.

    Args:
        candidates: (m, 2) positions; pairs that share patches should stand together.
        load: gives the pictures.
        agreement: of two pictures, such as `response`.
        least: the agreement from which on a pair is kept.
        advance: is told of every pair.
    """
    kept = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(candidates), CHUNK):
            pairs = candidates[start : start + CHUNK]
            needed = np.unique(pairs).tolist()
            pictures = dict(zip(needed, load(needed), strict=True))
            sides = ([pictures[i] for i in pairs[:, side]] for side in (0, 1))
            agreements = list(pool.map(agreement, *sides))
            kept.append(pairs[np.array(agreements) >= least])
            advance(len(pairs))
    return np.concatenate([np.zeros((0, 2), np.int64), *kept])
