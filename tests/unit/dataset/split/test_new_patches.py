"""Joining: photographs take the side that ties them most, and the few that leak are left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset.fingerprints import Pairs
from cracks.dataset.labels import SPLITS
from cracks.dataset.split.new_patches import NO_SIDE, Tie, sides_of_new

TRAIN, VALIDATION, TEST = range(3)


def _pairs(*pairs: tuple[int, int]) -> Pairs:
    return np.array(pairs, np.int64).reshape(-1, 2)


def _alike(patch: int, side: int) -> Tie:
    return Tie(patch, SPLITS[side], same_unit=False)


def _of_photograph(patch: int, side: int) -> Tie:
    return Tie(patch, SPLITS[side], same_unit=True)


def _sides(units: str, alike: Pairs, *ties: Tie) -> tuple[list[int], list[int]]:
    """Return the side of each patch, and the patches that are left out; a letter a photograph."""
    numbers = np.array([units.index(letter) for letter in units])
    sides, left_out = sides_of_new(numbers, alike, ties)
    return sides.tolist(), np.flatnonzero(left_out).tolist()


def test_what_nothing_ties_takes_no_side() -> None:
    assert _sides("aab", _pairs((0, 2))) == ([NO_SIDE] * 3, [])


def test_a_photograph_takes_the_side_of_what_one_of_its_patches_looks_like() -> None:
    assert _sides("aab", _pairs(), _alike(1, TEST)) == ([TEST, TEST, NO_SIDE], [])


def test_of_two_sides_the_one_that_ties_more_patches_wins_and_the_others_are_left_out() -> None:
    ties = _alike(0, TEST), _alike(1, TEST), _alike(2, TRAIN)
    assert _sides("aaaa", _pairs(), *ties) == ([TEST] * 4, [2])


def test_a_photograph_that_has_a_side_keeps_it() -> None:
    ties = _of_photograph(0, TRAIN), _alike(1, TEST), _alike(2, TEST)
    assert _sides("aaa", _pairs(), *ties) == ([TRAIN] * 3, [1, 2])


def test_a_patch_that_looks_like_two_sides_is_left_out() -> None:
    assert _sides("ab", _pairs(), _alike(0, TRAIN), _alike(0, TEST))[1] == [0]


def test_a_photograph_follows_another_one_that_it_looks_like() -> None:
    assert _sides("aabb", _pairs((1, 2)), _alike(0, TEST)) == ([TEST] * 4, [])


def test_of_two_photographs_on_different_sides_one_patch_that_ties_them_is_left_out() -> None:
    ties = _of_photograph(0, TRAIN), _of_photograph(2, TEST)
    assert _sides("aabb", _pairs((1, 3)), *ties) == ([TRAIN, TRAIN, TEST, TEST], [3])


PATCHES = st.integers(0, 11)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(PATCHES, min_size=12, max_size=12),
    st.lists(st.tuples(PATCHES, PATCHES), max_size=20),
    st.lists(st.tuples(PATCHES, st.integers(0, 2), st.booleans()), max_size=20),
)
def test_whatever_is_tied_nothing_that_stays_looks_like_another_side(
    letters: list[int], pairs: list[tuple[int, int]], given_ties: list[tuple[int, int, bool]]
) -> None:
    units = np.array([letters.index(letter) for letter in letters])
    ties = [Tie(patch, SPLITS[side], same) for patch, side, same in given_ties]
    sides, left_out = sides_of_new(units, _pairs(*pairs), ties)
    for photograph in set(letters):
        assert (
            len({side for side, one in zip(sides, letters, strict=True) if one == photograph}) == 1
        )
    for left, right in pairs:
        assert left_out[left] or left_out[right] or sides[left] == sides[right]
    for tie in ties:
        if not tie.same_unit and not left_out[tie.patch]:
            assert SPLITS[sides[tie.patch]] == tie.split


@pytest.mark.parametrize("side", [TRAIN, VALIDATION, TEST])
def test_a_side_is_the_place_of_its_split(side: int) -> None:
    assert _sides("a", _pairs(), _alike(0, side)) == ([side], [])
