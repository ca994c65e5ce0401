"""Runs: where patches are numbered by photograph, each photograph's end is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset.photos.photo_sequences import (
    LOOK,
    MAX_GAP,
    SIDE,
    STRETCH,
    UNCERTAIN_PATCHES,
    Look,
    find_runs,
    look_of,
)

#: That of params.yaml.
CHANGE = 4.0
LENGTHS = (24, 31, 18, 27, 40, 22)
STARTS = [int(start) for start in np.cumsum((0, *LENGTHS[:-1]))]


def _photographs(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> Look:
    """Return the look of patches, photograph by photograph."""
    rng = np.random.default_rng(seed)
    looks, before = [], np.zeros(5)
    for length in lengths:
        while np.linalg.norm((look := rng.normal(0, 6, 5)) - before) < 3 * CHANGE:
            pass
        looks.append(look + rng.normal(0, 0.7, (length, 5)))
        before = look
    return np.concatenate(looks)


def _numbered(count: int, folder: str = "zip/Positive") -> list[str]:
    return [f"{folder}/{number:05}.jpg" for number in range(1, count + 1)]


def _runs(paths: Sequence[str], look: Look, change: float) -> npt.NDArray[np.int64]:
    return find_runs(paths, look, change).numbers


def _starts(runs: npt.NDArray[np.int64]) -> list[int]:
    """Return where a run begins, of patches in the order of their numbers."""
    return [0, *(np.flatnonzero(np.diff(runs)) + 1).tolist()]


def _all_alone(runs: npt.NDArray[np.int64]) -> bool:
    return len(set(runs.tolist())) == len(runs)


def test_a_few_patches_at_the_ends_of_a_run_are_uncertain_and_never_all_of_them() -> None:
    look = _photographs()
    runs = find_runs(_numbered(len(look)), look, CHANGE)
    for start in _starts(runs.numbers):
        at_end = runs.at_end[runs.numbers == runs.numbers[start]]
        assert at_end[:UNCERTAIN_PATCHES].all()
        assert at_end[-UNCERTAIN_PATCHES:].all()
        assert not at_end[UNCERTAIN_PATCHES:-UNCERTAIN_PATCHES].any()
    short = find_runs(_numbered(60), _photographs([20, 2, 20, 3, 15]), CHANGE)
    for run in set(short.numbers.tolist()):
        assert not short.at_end[short.numbers == run].all()


@pytest.mark.parametrize("seed", range(8))
def test_the_boundaries_of_photographs_are_found(seed: int) -> None:
    look = _photographs(seed=seed)
    runs = _runs(_numbered(len(look)), look, CHANGE)
    found = _starts(runs)
    assert len(found) == len(STARTS)
    assert max(abs(a - b) for a, b in zip(found, STARTS, strict=True)) <= 1


def test_the_patches_of_a_run_share_its_number_and_no_other_has_it() -> None:
    look = _photographs()
    runs = _runs(_numbered(len(look)), look, CHANGE)
    assert runs.tolist() == np.repeat(_starts(runs), np.diff([*_starts(runs), len(look)])).tolist()


@pytest.mark.parametrize("odd", [STARTS[2] + 9, STARTS[4] + 12, STARTS[4] + 20])
def test_a_single_odd_patch_does_not_end_a_run(odd: int) -> None:
    look = _photographs()
    expected = _runs(_numbered(len(look)), look, CHANGE)
    look[odd] += 10
    assert _runs(_numbered(len(look)), look, CHANGE).tolist() == expected.tolist()


def test_a_shuffled_numbering_gives_no_runs() -> None:
    look = _photographs((20,) * 20)
    np.random.default_rng(1).shuffle(look)
    assert _all_alone(_runs(_numbered(len(look)), look, CHANGE))


def test_a_numbering_that_is_ordered_at_first_gives_runs_at_first() -> None:
    look = _photographs((25,) * 16)
    shuffled = look[200:]
    np.random.default_rng(1).shuffle(shuffled)
    runs = _runs(_numbered(len(look)), look, CHANGE)
    assert len(set(runs[: 200 - STRETCH].tolist())) == pytest.approx((200 - STRETCH) / 25, abs=1)
    assert _all_alone(runs[200 + STRETCH :])


def test_where_all_patches_look_the_same_nothing_tells_an_order() -> None:
    assert _all_alone(_runs(_numbered(80), np.ones((80, 5)), CHANGE))


def test_what_all_patches_have_in_common_says_nothing_about_an_order() -> None:
    look = _photographs()
    alike = np.concatenate([look[:, :3], np.ones((len(look), 2))], axis=1)
    assert len(_starts(_runs(_numbered(len(look)), alike, CHANGE))) > 1
    np.random.default_rng(1).shuffle(alike)
    assert _all_alone(_runs(_numbered(len(look)), alike, CHANGE))


def test_few_files_say_nothing_about_an_order() -> None:
    look = _photographs((STRETCH // 2, STRETCH // 2))
    assert len(look) == STRETCH - 1
    assert _all_alone(_runs(_numbered(len(look)), look, CHANGE))
    longer = _photographs((STRETCH // 2, STRETCH // 2 + 1))
    runs = _runs(_numbered(len(longer)), longer, CHANGE)
    assert len(_starts(runs)) == 2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_files_are_alone(count: int) -> None:
    assert _runs(_numbered(count), np.zeros((count, 5)), CHANGE).tolist() == list(range(count))


@pytest.mark.parametrize(("missing", "ends"), [(MAX_GAP - 1, False), (MAX_GAP, True)])
def test_a_large_gap_in_the_numbers_ends_a_run(missing: int, ends: bool) -> None:
    look = _photographs()
    middle = STARTS[4] + 20
    numbers = [number if number < middle else number + missing for number in range(len(look))]
    runs = _runs([f"Positive/{number:05}.jpg" for number in numbers], look, CHANGE)
    expected = sorted({*STARTS, middle} if ends else STARTS)
    assert len(_starts(runs)) == len(expected)
    assert (middle in _starts(runs)) is ends


@pytest.mark.parametrize("name", ["crack.jpg", "IMG_00{}.jpg", "_7.jpg", ".{}.jpg"])
def test_names_that_do_not_begin_with_a_number_are_alone(name: str) -> None:
    look = _photographs()
    paths = [f"Positive/{i}/{name}".replace("{}", str(i)) for i in range(len(look))]
    assert _all_alone(_runs(paths, look, CHANGE))


def test_what_follows_the_number_does_not_matter() -> None:
    look = _photographs()
    plain = _runs(_numbered(len(look)), look, CHANGE)
    named = [f"zip/Positive/{i}_1.jpg" if i % 2 else f"zip/Positive/{i}.png" for i in range(1, 163)]
    assert _runs(named, look, CHANGE).tolist() == plain.tolist()


def test_numbers_count_as_numbers_and_not_as_text() -> None:
    look = _photographs()
    count = len(look)
    order = sorted(range(count), key=str)
    runs = _runs([f"Positive/{i}.jpg" for i in order], look[order], CHANGE)
    by_number = np.empty(count, np.int64)
    by_number[order] = runs
    assert len(_starts(by_number)) == len(STARTS)


def test_each_folder_is_numbered_by_itself() -> None:
    look = np.concatenate([_photographs(seed=1), _photographs(seed=2)])
    half = len(look) // 2
    paths = _numbered(half, "a.zip/Positive") + _numbered(half, "b.zip/Positive")
    runs = _runs(paths, look, CHANGE)
    apart = [_runs(paths[:half], part, CHANGE) for part in (look[:half], look[half:])]
    assert runs.tolist() == [*apart[0].tolist(), *(apart[1] + half).tolist()]


def _together(paths: Sequence[str], runs: npt.NDArray[np.int64]) -> set[frozenset[str]]:
    return {
        frozenset(path for path, run in zip(paths, runs, strict=True) if run == one)
        for one in set(runs.tolist())
    }


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(2 * sum(LENGTHS))))
def test_the_order_of_the_files_does_not_matter(order: list[int]) -> None:
    half = sum(LENGTHS)
    paths = _numbered(half, "Positive") + _numbered(half, "Negative")
    look = np.concatenate([_photographs(seed=1), _photographs(seed=2)])
    expected = _together(paths, _runs(paths, look, CHANGE))
    shuffled = [paths[i] for i in order]
    assert _together(shuffled, _runs(shuffled, look[order], CHANGE)) == expected


def test_the_less_a_look_may_change_the_more_runs_there_are() -> None:
    look = _photographs()
    paths = _numbered(len(look))
    counts = [len(set(_runs(paths, look, change).tolist())) for change in (1.5, CHANGE, 1e6)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > len(LENGTHS) > counts[-1] == 1


def test_two_boundaries_closer_than_the_medians_reach_are_one() -> None:
    look = _photographs((40, SIDE - 2, 40))
    runs = _runs(_numbered(len(look)), look, CHANGE)
    assert len(_starts(runs)) == 2


def test_very_long_numbers_are_no_numbers() -> None:
    look = _photographs()
    paths = [f"Positive/{'7' * 12}{i:08}.jpg" for i in range(len(look))]
    assert _all_alone(_runs(paths, look, CHANGE))


def test_a_look_is_colour_structure_and_light_each_of_like_weight() -> None:
    columns = {name: np.array([1.0, 1.0, 3.0]) for name in LOOK}
    look = look_of(columns)
    assert look.shape == (3, len(LOOK))
    assert look[0].tolist() == look[1].tolist()
    # Twice the sharpness or contrast weighs as much as some twenty grey values.
    assert look[2] - look[0] == pytest.approx([2, 2, 8 * np.log(2), 8 * np.log(2), 0.5])
