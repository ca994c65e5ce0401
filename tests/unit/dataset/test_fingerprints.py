"""Fingerprints: the same picture in other bytes is found, and no pair of them is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset import fingerprints
from cracks.dataset.fingerprints import (
    BLOCK,
    REDUCED,
    STEP,
    Fingerprints,
    blocks_of,
    distances_between,
    find_near_copies,
    fingerprint,
    nearest,
)
from cracks.dataset.patch_facts import inspect_patch
from tests.unit.builders import saved, surface

Grey = npt.NDArray[np.uint8]

#: That of params.yaml.
DISTANCE = 0.6
PAIR = np.array([[0, 1]])
ODD = np.where(np.arange(BLOCK) % 2, -1, 1)
CLUSTERED = {"seed": st.integers(0, 2**32), "count": st.integers(0, 40)}


def _taken(content: bytes, size: int = 227) -> Fingerprints:
    return np.frombuffer(inspect_patch(content, size).fingerprint, np.int16)


def _apart(left: bytes, right: bytes) -> float:
    """Return the distance of two files in grey values."""
    return float(distances_between(np.stack([_taken(left), _taken(right)]), PAIR)[0])


def _as_laid(block: npt.NDArray[np.int64], way: int) -> npt.NDArray[np.int64]:
    """Return coefficients after one of the eight ways to lay a square on itself."""
    block = block.T if way & 4 else block
    block = block * ODD if way & 2 else block
    return block * ODD[:, None] if way & 1 else block


def _squares(left: npt.NDArray[np.int16], right: npt.NDArray[np.int16]) -> int:
    """Return the least squared distance of two fingerprints in steps, the slow and sure way."""
    blocks = [one.astype(np.int64).reshape(BLOCK, BLOCK) for one in (left, right)]
    return min(int(((_as_laid(blocks[0], way) - blocks[1]) ** 2).sum()) for way in range(8))


def _clustered(seed: int, count: int) -> Fingerprints:
    """Return fingerprints of which many are equal, laid otherwise, or a little apart."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(-2000, 2000, (4, BLOCK, BLOCK))
    made = np.zeros((count, BLOCK * BLOCK), np.int16)
    for row in made:
        noise = rng.integers(-9, 10, (BLOCK, BLOCK)) * rng.integers(0, 3)
        row[:] = _as_laid(kinds[rng.integers(4)] + noise, int(rng.integers(8))).ravel()
    return made


def _distinct(count: int, seed: int = 0) -> Fingerprints:
    """Return fingerprints as those of photographs are: large low frequencies, small high ones."""
    order = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)) + 1
    spread = (600 / order).ravel()
    drawn = np.random.default_rng(seed).normal(0, spread, (count, BLOCK * BLOCK))
    drawn[:, 0] += 15_000
    return np.asarray(drawn.round(), np.int16)


SYMMETRIES: dict[str, Callable[[Grey], Grey]] = {
    "as it is": lambda grey: grey,
    "left to right": np.fliplr,
    "top to bottom": np.flipud,
    "turned by 90°": lambda grey: np.rot90(grey, 1),
    "turned by 180°": lambda grey: np.rot90(grey, 2),
    "turned by 270°": lambda grey: np.rot90(grey, 3),
    "transposed": np.transpose,
    "transposed and turned": lambda grey: np.rot90(grey.T, 2),
}


@pytest.mark.parametrize("size", [227, 64, 33])
@pytest.mark.parametrize("laid", SYMMETRIES.values(), ids=SYMMETRIES.keys())
def test_a_picture_mirrored_or_turned_is_the_same_picture(
    laid: Callable[[Grey], Grey], size: int
) -> None:
    grey = surface(1, size=size)
    pair = np.stack([_taken(saved(grey), size), _taken(saved(laid(grey)), size)])
    # What remains is the rounding of 64 coefficients to a step.
    assert distances_between(pair, PAIR)[0] < 4 * STEP


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
def test_a_picture_saved_again_at_a_lower_quality_is_near(quality: int) -> None:
    for seed in range(5):
        assert _apart(saved(surface(seed)), saved(surface(seed), "JPEG", quality=quality)) < 0.3


def test_a_mirrored_picture_saved_again_is_near() -> None:
    mirrored = saved(np.fliplr(surface(2)), "JPEG", quality=60)
    assert _apart(saved(surface(2), "JPEG", quality=90), mirrored) < DISTANCE


def test_a_picture_a_little_brighter_is_near_and_a_much_brighter_one_is_not() -> None:
    grey = surface(3)
    a_little = grey.copy()
    a_little[::2] += 1  # half a grey value on average
    assert _apart(saved(grey), saved(a_little)) == pytest.approx(0.5, abs=0.06)
    assert _apart(saved(grey), saved(grey + np.uint8(10))) == pytest.approx(10, abs=0.1)


def test_different_pictures_are_not_near() -> None:
    taken = np.stack([_taken(saved(surface(seed, size=64)), 64) for seed in range(60)])
    pairs = np.array(list(combinations(range(60), 2)))
    assert distances_between(taken, pairs).min() > 3 * DISTANCE
    assert len(find_near_copies(taken, DISTANCE).pairs) == 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), change=st.floats(0, 60))
def test_fingerprints_are_never_further_apart_than_the_pictures(seed: int, change: float) -> None:
    rng = np.random.default_rng(seed)
    left = rng.uniform(0, 255, (REDUCED, REDUCED)).astype(np.float32)
    right = np.clip(left + rng.normal(0, change, left.shape), 0, 255).astype(np.float32)
    pair = np.stack([fingerprint(left), fingerprint(right)])
    rounding = STEP * BLOCK
    assert distances_between(pair, PAIR)[0] <= np.sqrt(((left - right) ** 2).mean()) + rounding


@pytest.mark.parametrize("grey", [0, 255])
def test_black_and_white_fit_into_a_fingerprint(grey: int) -> None:
    taken = fingerprint(np.full((REDUCED, REDUCED), grey, np.float32))
    assert blocks_of(taken)[0, 0, 0] == pytest.approx(grey, abs=STEP)


@settings(max_examples=60, deadline=None)
@given(**CLUSTERED, squares=st.integers(0, 20_000))
def test_the_search_finds_the_very_pairs_that_trying_all_of_them_does(
    seed: int, count: int, squares: int
) -> None:
    taken = _clustered(seed, count)
    # Between two squares of whole steps, so that no pair lies on the edge.
    found = find_near_copies(taken, STEP * float(np.sqrt(squares + 0.5)))
    first: dict[bytes, int] = {}
    kind = [first.setdefault(row.tobytes(), i) for i, row in enumerate(taken)]
    expected = {(kind[i], i): 0 for i in range(count) if kind[i] != i}
    for left, right in combinations(sorted(first.values()), 2):
        if (apart := _squares(taken[left], taken[right])) <= squares:
            expected[left, right] = apart
    pairs = [(int(left), int(right)) for left, right in found.pairs]
    assert pairs == sorted(expected)
    distances = [STEP * np.sqrt(expected[pair]) for pair in pairs]
    assert found.distances == pytest.approx(distances, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(**CLUSTERED)
def test_at_no_distance_at_all_only_the_same_picture_is_found(seed: int, count: int) -> None:
    taken = _clustered(seed, count)
    found = find_near_copies(taken, 0.0)
    assert (found.distances == 0).all()
    assert all(_squares(taken[left], taken[right]) == 0 for left, right in found.pairs)
    found_rows = set(found.pairs.ravel().tolist())
    for left, right in combinations(range(count), 2):
        if _squares(taken[left], taken[right]) == 0:
            assert {left, right} <= found_rows


def test_many_copies_of_one_picture_are_one_pair_each_with_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = _counted(monkeypatch)
    taken = np.repeat(_distinct(3), 5000, axis=0)
    pairs = find_near_copies(taken, DISTANCE).pairs
    assert len(pairs) == len(taken) - 3
    assert set(pairs[:, 0].tolist()) == {0, 5000, 10_000}
    assert np.unique(pairs[:, 1]).size == len(pairs)
    assert sum(compared) == 0


def test_hardly_more_pairs_are_compared_than_there_are_near_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = _counted(monkeypatch)
    taken = np.concatenate([_distinct(4000), _distinct(100)])
    # Near hardly one of them, but all of them are among their magnitudes.
    taken[4000:, 1] *= -1
    assert len(find_near_copies(taken, DISTANCE).pairs) < 20
    assert 90 < sum(compared) < 200


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every comparison of pairs be counted."""
    compared: list[int] = []
    compare = fingerprints.distances_between

    def counting(taken: Fingerprints, pairs: fingerprints.Pairs) -> npt.NDArray[np.float32]:
        compared.append(len(pairs))
        return compare(taken, pairs)

    monkeypatch.setattr(fingerprints, "distances_between", counting)
    return compared


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_it_does_not_matter_how_many_pairs_are_compared_at_a_time(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    taken = _clustered(5, 8)
    pairs = np.array(list(combinations(range(8), 2)))
    monkeypatch.setattr(fingerprints, "CHUNK", chunk)
    expected = [STEP * np.sqrt(_squares(taken[left], taken[right])) for left, right in pairs]
    assert distances_between(taken, pairs) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("others", [1, 2, 8])
def test_the_nearest_of_a_few_is_the_nearest_of_all(others: int) -> None:
    taken = _clustered(6, 20)
    queries, among = np.arange(10, 20), np.arange(others)
    found = nearest(taken, queries, among)
    assert found.pairs[:, 0].tolist() == queries.tolist()
    for one, distance in zip(queries, found.distances, strict=True):
        least = min(_squares(taken[one], taken[other]) for other in among)
        assert distance == pytest.approx(STEP * np.sqrt(least), abs=1e-3)


def test_the_nearest_of_many_is_the_picture_that_was_mirrored() -> None:
    taken = _distinct(500)
    mirrored = [_as_laid(row.reshape(BLOCK, BLOCK), 2).ravel() for row in taken[100:110]]
    taken = np.concatenate([taken, np.array(mirrored, np.int16)])
    found = nearest(taken, np.arange(500, 510), np.arange(500))
    assert found.pairs[:, 1].tolist() == list(range(100, 110))
    assert found.distances.max() == 0
