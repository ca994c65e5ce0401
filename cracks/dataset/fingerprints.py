"""Fingerprints of patches, and the search for near-copies: the same picture in other bytes.

A near-copy was saved again, or mirrored, or turned by a multiple of 90°. The fingerprint of a patch
is the block of its lowest spatial frequencies, in which mirroring only changes signs and turning
only exchanges rows and columns.

Sources: the block of DCT coefficients is that of Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions" (2010), section 3.2.1, kept as numbers instead of bits; the search
in fewer dimensions that never loses a pair is the lower-bounding lemma of Faloutsos, Ranganathan
and Manolopoulos, "Fast Subsequence Matching in Time-Series Databases" (SIGMOD 1994), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

#: Side in pixels of the reduced grey picture, and of the block of frequencies kept of it.
REDUCED, BLOCK = 32, 8

#: Steps of a stored coefficient, in grey values.
STEP = 0.01

#: Side of the smaller block that the search runs in: 16 numbers a patch.
SEARCHED = 4

#: Pairs or patches looked at together, so that memory stays small.
CHUNK = 10_000

#: Candidates of one patch, nearest first; more have only patches without any pattern.
MOST_NEIGHBOURS = 64

Fingerprints = npt.NDArray[np.int16]  # (n, BLOCK * BLOCK), in steps of STEP grey values
Pairs = npt.NDArray[np.int64]  # (m, 2) positions, the smaller one first


@dataclass(frozen=True)
class NearCopies:
    """Pairs of patches, and the distance of each pair in grey values."""

    pairs: Pairs
    distances: npt.NDArray[np.float32]  # (m,)


def fingerprint(reduced: npt.NDArray[Any]) -> Fingerprints:
    """Return the fingerprint of a grey picture of (REDUCED, REDUCED) pixels as int16 (64,).

    The coefficients are scaled so that the Euclidean distance of two fingerprints is at most the
    root mean square difference of the two pictures, in grey values.
    """
    return lowest_frequencies(reduced, (BLOCK, BLOCK))


def lowest_frequencies(reduced: npt.NDArray[Any], block: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Return the block of lowest frequencies of a grey picture, int16 (block[0] · block[1],).

    Args:
        reduced: (height, width), both even.
        block: frequencies kept of each column and of each row.
    """
    import cv2

    rows, columns = block
    coefficients = cv2.dct(reduced.astype(np.float32))[:rows, :columns] / sqrt(reduced.size)
    return np.asarray(np.round(coefficients.ravel() / STEP), np.int16)


def find_near_copies(fingerprints: Fingerprints, distance: float) -> NearCopies:
    """Return every pair of fingerprints within `distance` under some mirroring and turning.

    No pair within the distance is missed, unless a patch has more than MOST_NEIGHBOURS candidates:
    of a thousand blank patches each is paired with some others. Equal fingerprints are searched
    once, and each is paired with the first of its kind.

    Args:
        fingerprints: int16 (n, 64).
        distance: in grey values.
    """
    first, kind = _distinct(fingerprints)
    distinct = fingerprints[first]
    candidates = _candidates(_unchanged_by_turning(distinct), distance + STEP)
    distances = distances_between(distinct, candidates)
    near = distances <= distance
    pairs = np.sort(first[candidates[near]], axis=1)
    repeated = np.flatnonzero(first[kind] != np.arange(len(kind)))
    copies = np.stack([first[kind[repeated]], repeated], axis=1)
    all_pairs = np.concatenate([pairs, copies])
    all_distances = np.concatenate([distances[near], np.zeros(len(copies), np.float32)])
    order = np.lexsort((all_pairs[:, 1], all_pairs[:, 0]))
    return NearCopies(all_pairs[order], all_distances[order])


def _candidates(points: npt.NDArray[np.float32], distance: float) -> Pairs:
    """Return the pairs of points within `distance`, the nearest MOST_NEIGHBOURS of each point."""
    from scipy.spatial import KDTree

    tree, found = KDTree(points), [np.zeros((0, 2), np.int64)]
    for start in range(0, len(points), CHUNK):
        chunk = points[start : start + CHUNK]
        _, near = tree.query(
            chunk, k=MOST_NEIGHBOURS + 1, distance_upper_bound=distance, workers=-1
        )
        row, column = np.nonzero(near < len(points))  # what is missing has a number beyond the last
        found.append(np.stack([row + start, near[row, column]], axis=1))
    pairs = np.concatenate(found)
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def distances_between(fingerprints: Fingerprints, pairs: Pairs) -> npt.NDArray[np.float32]:
    """Return the distance of each pair in grey values, under the best mirroring and turning."""
    distances = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        left, right = (blocks_of(fingerprints[pairs[part, side]]) for side in (0, 1))
        best = np.full(len(left), np.inf, np.float32)
        for variant in _variants(left):
            np.minimum(best, np.square(variant - right).sum(axis=(1, 2)), out=best)
        distances[part] = np.sqrt(best)
    return distances


def nearest(
    fingerprints: Fingerprints, queries: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
) -> NearCopies:
    """Return for each patch of `queries` the nearest of `others`, among the most alike few.

    Args:
        fingerprints: int16 (n, 64).
        queries: positions (a,).
        others: positions (o,), at least one.
    """
    from scipy.spatial import KDTree

    searched = _unchanged_by_turning(fingerprints)
    _, found = KDTree(searched[others]).query(searched[queries], k=min(8, len(others)), workers=-1)
    found = others[np.reshape(found, (len(queries), -1))]
    pairs = np.stack([np.repeat(queries, found.shape[1]), found.ravel()], axis=1)
    distances = distances_between(fingerprints, pairs).reshape(found.shape)
    best = distances.argmin(axis=1)
    rows = np.arange(len(queries))
    return NearCopies(np.stack([queries, found[rows, best]], axis=1), distances[rows, best])


def blocks_of(fingerprints: Fingerprints) -> npt.NDArray[np.float32]:
    """Return the coefficients in grey values, float32 (n, BLOCK, BLOCK)."""
    return fingerprints.reshape(-1, BLOCK, BLOCK).astype(np.float32) * np.float32(STEP)


def _variants(blocks: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the blocks as they are after each of the eight ways to lay a square on itself."""
    odd = np.where(np.arange(BLOCK) % 2, np.float32(-1), np.float32(1))
    for turned in (blocks, blocks.transpose(0, 2, 1)):
        for rows in (turned, turned * odd[:, None]):
            yield rows
            yield rows * odd


def _unchanged_by_turning(fingerprints: Fingerprints) -> npt.NDArray[np.float32]:
    """Return float32 (n, 16) that mirroring and turning leave as they are.

    Taking magnitudes, sorting and leaving out coordinates never increase a distance. So whatever
    is near among the fingerprints is near here.
    """
    blocks = np.abs(blocks_of(fingerprints)[:, :SEARCHED, :SEARCHED])
    turned = blocks.transpose(0, 2, 1)
    lower, upper = np.tril_indices(SEARCHED, -1), np.triu_indices(SEARCHED)
    smaller, larger = np.minimum(blocks, turned), np.maximum(blocks, turned)
    return np.concatenate([larger[:, upper[0], upper[1]], smaller[:, lower[0], lower[1]]], axis=1)


def _distinct(
    fingerprints: Fingerprints,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first patch with each distinct fingerprint, and which of them each patch has."""
    rows = np.ascontiguousarray(fingerprints).view(np.dtype((np.void, BLOCK * BLOCK * 2)))
    _, first, kind = np.unique(rows.ravel(), return_index=True, return_inverse=True)
    return first, kind
