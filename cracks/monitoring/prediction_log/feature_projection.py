"""Sketches: 64 numbers that stand for the features of an image, so that drift can be measured.

A random projection keeps the distances between points: with k Gaussian directions, the square of a
distance is kept with a relative standard deviation of √(2/k), 18 % for 64, whatever the number of
features (Johnson and Lindenstrauss 1984, Extensions of Lipschitz mappings into a Hilbert space;
Achlioptas 2003, Database-friendly random projections, doi:10.1016/S0022-0000(03)00025-4). Means and
variances along each direction are kept as they are, and those are what is compared.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Numbers of a sketch.
DIMENSIONS = 64

#: Sketches of one seed can be compared, whenever and wherever they were made: never change it.
SEED = 20261121


def sketch(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sketches (n, 64) of features (n, d); for the same d always the same directions."""
    sketches: NDArray[np.float32] = np.asarray(features, np.float32) @ _directions(
        features.shape[1]
    )
    return sketches


@lru_cache(maxsize=8)
def _directions(dimensions: int) -> NDArray[np.float32]:
    """Return (d, 64) normal numbers, scaled so that lengths stay what they are."""
    # The stream of RandomState never changes again; that of default_rng may (NumPy's NEP 19).
    normal = np.random.RandomState(SEED).standard_normal((dimensions, DIMENSIONS))
    directions: NDArray[np.float32] = (normal / np.sqrt(DIMENSIONS)).astype(np.float32)
    directions.flags.writeable = False
    return directions
