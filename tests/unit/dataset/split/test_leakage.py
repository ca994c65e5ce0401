"""Leakage: how much of test stands in train too is counted, not guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracks.dataset.fingerprints import BLOCK
from cracks.dataset.labels import CRACK, LEFT_OUT, SPLITS
from cracks.dataset.split import leakage as module
from cracks.dataset.split.grouping import Likeness
from cracks.dataset.split.leakage import leakage, leakage_report, nearest_pairs, random_sides
from tests.unit.builders import likeness_of

SHARES = (0.7, 0.15, 0.15)
LETTER = {"r": "train", "v": "validation", "t": "test", "-": LEFT_OUT}


def _sides(letters: str) -> npt.NDArray[np.str_]:
    return np.array([LETTER[letter] for letter in letters])


CASES: dict[str, tuple[str, list[int], float]] = {
    "nothing in common": ("rvt", [0, 1, 2], 0),
    "a copy in train": ("rt", [0, 0], 1),
    "a copy in validation": ("vtr", [0, 0, 1], 0),
    "a copy in test": ("ttr", [0, 0, 1], 0),
    "a copy that was left out": ("-tr", [0, 0, 1], 0),
    "one of four": ("rtttt", [0, 0, 1, 2, 3], 0.25),
    "each file of test counts": ("rttt", [0, 0, 0, 1], 0.66667),
    "each file of train counts once": ("rrrtt", [0, 0, 0, 0, 1], 0.5),
    "no train": ("vtt", [0, 0, 0], 0),
}


@pytest.mark.parametrize(("letters", "names", "share"), CASES.values(), ids=CASES.keys())
def test_the_share_of_test_that_train_has_too_is_counted(
    letters: str, names: list[int], share: float
) -> None:
    same, alone = np.array(names), np.arange(len(names)) + 100
    found = leakage(_sides(letters), same, alone)
    assert found == {"same_picture_in_train": share, "same_photograph_in_train": 0}
    found = leakage(_sides(letters), alone, same)
    assert found == {"same_picture_in_train": 0, "same_photograph_in_train": share}


def test_where_nothing_is_known_of_photographs_nothing_is_said() -> None:
    found = leakage(_sides("rrt"), np.array([0, 1, 1]), np.full(3, -1))
    assert found == {"same_picture_in_train": 1, "same_photograph_in_train": None}


def test_only_files_of_known_photographs_count() -> None:
    found = leakage(_sides("rrtttt"), np.arange(6), np.array([0, -1, 0, 1, -1, -1]))
    assert found["same_photograph_in_train"] == 0.5


def test_without_test_nothing_leaks_and_nothing_is_said() -> None:
    found = leakage(_sides("rrv"), np.zeros(3, int), np.zeros(3, int))
    assert found == {"same_picture_in_train": None, "same_photograph_in_train": None}


@pytest.mark.parametrize(("copies", "expected"), [(1, 0), (2, 0.7), (3, 0.91), (10, 1)])
def test_a_random_split_leaks_as_much_as_chance_has_it(copies: int, expected: float) -> None:
    pictures = np.repeat(np.arange(12_000 // copies), copies)
    sides = random_sides(len(pictures), SHARES)
    found = leakage(sides, pictures, pictures)
    assert found["same_picture_in_train"] == pytest.approx(expected, abs=0.03)


def test_a_random_split_has_the_shares_asked_for_and_is_always_the_same() -> None:
    sides = random_sides(20_000, SHARES)
    for split, share in zip(SPLITS, SHARES, strict=True):
        assert (sides == split).mean() == pytest.approx(share, abs=0.015)
    assert (random_sides(20_000, SHARES) == sides).all()


@given(train=st.floats(0.01, 0.97), validation=st.floats(0.01, 0.98))
def test_shares_that_add_up_but_for_rounding_can_be_drawn(train: float, validation: float) -> None:
    validation = min(validation, 0.99 - train)
    assert len(random_sides(10, (train, validation, 1 - train - validation))) == 10


def test_the_report_sets_a_split_beside_a_random_one() -> None:
    pictures = np.repeat(np.arange(2000), 2)
    sides = np.where(pictures % 4 == 0, "test", "train")
    report = leakage_report(sides, pictures, pictures // 2, SHARES)
    assert report["this_split"] == {"same_picture_in_train": 0, "same_photograph_in_train": 1}
    assert report["random_split"]["same_picture_in_train"] == pytest.approx(0.7, abs=0.05)


def _scattered(letters: str) -> tuple[Likeness, npt.NDArray[np.str_]]:
    """Return patches on a line: the further apart in number, the less alike they are."""
    likeness = likeness_of({f"{i:05}": CRACK for i in range(len(letters))})
    fingerprints = np.zeros((len(letters), BLOCK * BLOCK), np.int16)
    fingerprints[:, 0] = np.arange(len(letters)) * 100
    return replace(likeness, fingerprints=fingerprints), _sides(letters)


def test_the_pairs_shown_are_the_nearest_ones_and_the_nearest_comes_first() -> None:
    found = nearest_pairs(*_scattered("rrvvvt" + "vvrvt" + "r-t" + "t"), count=3)
    assert found.pairs.tolist() == [[10, 11], [13, 11], [5, 8]]
    assert found.distances == pytest.approx([1, 2, 3])


def test_no_more_pairs_are_shown_than_asked_for_or_than_there_are() -> None:
    assert len(nearest_pairs(*_scattered("rt" * 20), count=8).pairs) == 8
    assert len(nearest_pairs(*_scattered("rttr"), count=8).pairs) == 2


@pytest.mark.parametrize("letters", ["rrv", "vtt", "v", "--"])
def test_without_test_or_train_there_is_no_pair(letters: str) -> None:
    found = nearest_pairs(*_scattered(letters), count=8)
    assert (found.pairs.shape, found.distances.shape) == ((0, 2), (0,))


def test_a_large_test_split_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 10)
    found = nearest_pairs(*_scattered("t" * 100 + "r"), count=50)
    sampled = sorted(found.pairs[:, 0].tolist())
    assert len(sampled) == 10
    assert (sampled[0], sampled[-1]) == (0, 99)
    assert max(np.diff(sampled)) <= 12
