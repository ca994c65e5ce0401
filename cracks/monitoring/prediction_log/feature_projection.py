"""Sketches: 64 numbers that stand for the features of an image, so that drift can be measured.

A random projection keeps the distances between points: with k Gaussian directions, the square of a
distance is kept with a relative standard deviation of √(2/k), 18 % for 64, whatever the number of
features (Johnson and Lindenstrauss 1984, Extensions of Lipschitz mappings into a Hilbert space;
Achlioptas 2003, Database-friendly random projections, doi:10.1016/S0022-0000(03)00025-4). Means and
variances along each direction are kept as they are, and those are what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
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


def sketch_column(sketches: NDArray[np.float32] | Sequence[NDArray[np.float32] | None]) -> pa.Array:
    """Return sketches, (n, 64) or (64,) each or None, as a column of lists in half precision.

    Raises:
        ValueError: one of them has another size.
    """
    present = np.array([one is not None for one in sketches], bool)
    ends = np.concatenate([[0], np.cumsum(present * DIMENSIONS)])
    known = [np.reshape(one, DIMENSIONS) for one in sketches if one is not None]
    values = np.concatenate([np.empty(0, np.float32), *known])
    # Beyond what half a float holds there is nothing that could be compared.
    largest = np.finfo(np.float16).max
    halves = pa.array(np.clip(values, -largest, largest).astype(np.float16))
    # No list of fixed size: pyarrow 25 writes one with a null, but cannot read it.
    offsets = pa.array(ends, pa.int32(), mask=np.append(~present, False))
    return pa.ListArray.from_arrays(offsets, halves)


def sketches_of(table: pa.Table) -> NDArray[np.float32]:
    """Return the sketches (n, 64) in the column `sketch`, which has one in each row."""
    flat = table["sketch"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(-1, DIMENSIONS)


@lru_cache(maxsize=8)
def _directions(dimensions: int) -> NDArray[np.float32]:
    """Return (d, 64) normal numbers, scaled so that lengths stay what they are."""
    # The stream of RandomState never changes again; that of default_rng may (NumPy's NEP 19).
    normal = np.random.RandomState(SEED).standard_normal((dimensions, DIMENSIONS))
    directions: NDArray[np.float32] = (normal / np.sqrt(DIMENSIONS)).astype(np.float32)
    directions.flags.writeable = False
    return directions
