"""Weak ties: doubtful patches follow one side or are left out, and no group grows too large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset.fingerprints import Pairs
from cracks.dataset.split.components import chain_links, components
from cracks.dataset.split.weak_ties import Photographs, cut_large_groups, settle_ends

#: Two runs, A and B, of five patches each, whose first and last ones are uncertain; patch 10 is of
#: no run.
RUNS = "AAAAABBBBB-"
CERTAIN = "-+++--+++-+"


def _photographs(runs: str = RUNS, certain: str = CERTAIN) -> Photographs:
    numbers = ["AB".find(letter) for letter in runs]
    return Photographs(np.arange(len(runs)), np.array(numbers), np.array([*certain]) == "+")


def _pairs(*pairs: tuple[int, int]) -> Pairs:
    return np.array(pairs, np.int64).reshape(-1, 2)


def _groups(*alike: tuple[int, int]) -> tuple[list[set[int]], set[int]]:
    """Return the groups of more than one patch, and which patches are left out."""
    pairs, photographs = _pairs(*alike), _photographs()
    count = len(RUNS)
    tied, left_out = settle_ends(photographs, pairs, count)
    links = np.concatenate([photographs.links(tied), pairs[~left_out[pairs].any(axis=1)]])
    names = components(links, count)
    groups = [set(np.flatnonzero(names == name).tolist()) for name in np.unique(names)]
    return [group for group in groups if len(group) > 1], set(np.flatnonzero(left_out).tolist())


def test_a_patch_at_the_end_of_a_run_stays_with_it_where_nothing_speaks_against_that() -> None:
    assert _groups() == ([set(range(5)), set(range(5, 10))], set())


def test_one_that_looks_like_a_patch_of_another_run_follows_that_one() -> None:
    assert _groups((4, 7)) == ([set(range(4)), set(range(4, 10))], set())
    assert _groups((4, 10)) == ([set(range(4)), {4, 10}, set(range(5, 10))], set())


def test_one_that_looks_like_a_patch_of_its_own_run_stays_with_it() -> None:
    assert _groups((4, 2)) == _groups()


def test_one_that_would_tie_two_runs_is_left_out() -> None:
    assert _groups((4, 2), (4, 7)) == ([set(range(4)), set(range(5, 10))], {4})


def test_of_ends_of_two_runs_that_look_alike_one_is_left_out() -> None:
    assert _groups((4, 5)) == ([set(range(5)), set(range(6, 10))], {5})


def test_certain_patches_tie_their_runs() -> None:
    assert _groups((2, 7)) == ([set(range(10))], set())


def test_a_patch_that_has_a_certain_file_too_is_certain() -> None:
    photographs = Photographs(
        np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([False, True, True])
    )
    tied, left_out = settle_ends(photographs, _pairs(), 2)
    assert not left_out.any()
    assert tied.tolist() == [False, True, True]


# --- Groups that are too large

#: Six photographs of ten patches.
UNITS = np.repeat(np.arange(6), 10)
COUNT = len(UNITS)


def _largest(alike: Pairs, left_out: Sequence[bool]) -> int:
    kept = ~np.array(left_out)
    links = np.concatenate([chain_links(np.arange(COUNT), UNITS), alike])
    names = components(links[kept[links].all(axis=1)], COUNT)
    return int(np.bincount(names[kept]).max())


def test_a_group_that_is_not_too_large_stays_whole() -> None:
    units, alike = chain_links(np.arange(COUNT), UNITS), _pairs((0, 10), (11, 20))
    assert not cut_large_groups(units, alike, COUNT, 30).any()


def test_a_group_that_is_too_large_is_cut_where_fewest_patches_tie_it() -> None:
    units, alike = chain_links(np.arange(COUNT), UNITS), _pairs((0, 10), (1, 11), (12, 20))
    assert np.flatnonzero(cut_large_groups(units, alike, COUNT, 20)).tolist() == [20]


def test_the_patch_that_ties_most_is_the_one_that_is_left_out() -> None:
    units, alike = chain_links(np.arange(COUNT), UNITS), _pairs((0, 10), (1, 10), (2, 10))
    assert np.flatnonzero(cut_large_groups(units, alike, COUNT, 10)).tolist() == [10]


def test_a_photograph_that_is_too_large_by_itself_is_not_cut() -> None:
    units = chain_links(np.arange(COUNT), np.zeros(COUNT, np.int64))
    assert not cut_large_groups(units, _pairs((0, 10)), COUNT, 20).any()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)), max_size=60),
    st.integers(10, COUNT),
)
def test_whatever_looks_alike_no_group_is_too_large_and_nothing_is_left_out_in_vain(
    pairs: list[tuple[int, int]], most: int
) -> None:
    units, alike = chain_links(np.arange(COUNT), UNITS), _pairs(*pairs)
    left_out = cut_large_groups(units, alike, COUNT, most)
    # A photograph stays one without the patches that are left out of it.
    kept = np.flatnonzero(~left_out)
    links = np.concatenate([chain_links(kept, UNITS[kept]), alike[~left_out[alike].any(axis=1)]])
    sizes = np.bincount(components(links, COUNT))
    assert sizes.max() <= most
    if _largest(alike, [False] * COUNT) <= most:
        assert not left_out.any()


@pytest.mark.parametrize("most", [2, 100])
def test_where_nothing_looks_alike_nothing_is_left_out(most: int) -> None:
    assert not cut_large_groups(_pairs(), _pairs(), 5, most).any()
