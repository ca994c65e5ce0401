"""Drift: the same data has none, other data has it, and the reference is what was accepted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset.validate.drift import (
    WATCHED,
    drift_from,
    next_profiles,
    profile_of,
    reference_for,
)

#: Below it there is no change to speak of, above it there is a large one.
SMALL, LARGE = 0.1, 0.25

VALUES = st.lists(st.floats(0, 255).map(lambda value: round(value, 3)), min_size=1, max_size=60)


def _columns(count: int = 2000, seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(100, 20, count).round(3) for name in WATCHED}


def _cracked(count: int = 2000, share: float = 0.5) -> npt.NDArray[np.bool_]:
    return np.arange(count) < share * count


def _profile(**changes: npt.NDArray[np.float64]) -> dict[str, Any]:
    return profile_of(_columns() | changes, _cracked(), "digest")


@settings(max_examples=60, deadline=None)
@given(values=VALUES, share=st.floats(0, 1))
def test_the_same_data_has_not_drifted(values: list[float], share: float) -> None:
    columns = dict.fromkeys(WATCHED, np.array(values))
    cracked = _cracked(len(values), share)
    profile = profile_of(columns, cracked, "digest")
    drift = drift_from(json.loads(json.dumps(profile)), columns, cracked)
    assert drift == dict.fromkeys((*WATCHED, "crack_share"), 0)


def test_other_photographs_of_the_same_kind_have_hardly_drifted() -> None:
    drift = drift_from(_profile(), _columns(seed=1), _cracked())
    assert 0 < max(drift.values()) < SMALL


@pytest.mark.parametrize("name", WATCHED)
@pytest.mark.parametrize("change", [lambda v: v + 20, lambda v: v - 20, lambda v: 2 * v - 100])
def test_what_has_shifted_or_spread_is_told_by_its_name(name: str, change: Any) -> None:
    columns = _columns()
    drift = drift_from(_profile(), columns | {name: change(columns[name])}, _cracked())
    assert drift[name] > LARGE
    assert {other for other, value in drift.items() if value} == {name}


@pytest.mark.parametrize(("share", "change"), [(0.5, 0), (0.3, 0.2), (0.9, 0.4)])
def test_the_share_of_cracks_is_compared_as_it_is(share: float, change: float) -> None:
    drift = drift_from(_profile(), _columns(), _cracked(share=share))
    assert drift["crack_share"] == pytest.approx(change)


def test_the_index_is_that_of_the_book() -> None:
    # Of the reference 60 % lie in the upper part, of today's data three quarters.
    profile = _profile(brightness=np.array([1.0, 2.0]))
    profile["bins"]["brightness"] = {"edges": [1.5], "shares": [0.4, 0.6]}
    today = _columns() | {"brightness": np.array([1.0, 2.0, 2.0, 2.0])}
    expected = 0.15 * np.log(0.75 / 0.6) - 0.15 * np.log(0.25 / 0.4)
    assert drift_from(profile, today, _cracked())["brightness"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("today", [0.0, 100.0, 255.0])
def test_a_column_that_was_constant_can_be_compared_with(today: float) -> None:
    flat = np.full(2000, 100.0)
    drift = drift_from(
        _profile(contrast=flat), _columns() | {"contrast": flat * 0 + today}, _cracked()
    )
    assert np.isfinite(drift["contrast"])
    assert drift["contrast"] >= 0
    # There is one edge, at the constant itself: what lies below it is another bin.
    assert (drift["contrast"] > LARGE) is (today < 100)


def test_values_never_seen_before_count_as_drift_and_not_as_an_error() -> None:
    columns = {name: values + 1000 for name, values in _columns().items()}
    drift = drift_from(_profile(), columns, _cracked())
    assert all(LARGE < drift[name] < 100 for name in WATCHED)


def test_without_a_reference_nothing_has_drifted() -> None:
    assert set(drift_from(None, _columns(), _cracked()).values()) == {0.0}
    assert drift_from(None, _columns(), _cracked()).keys() == {*WATCHED, "crack_share"}


def test_a_profile_names_its_data_and_fits_into_a_report() -> None:
    profile = _profile()
    assert json.loads(json.dumps(profile)) == profile
    assert (profile["digest"], profile["patches"], profile["crack_share"]) == ("digest", 2000, 0.5)
    for name in WATCHED:
        bins = profile["bins"][name]
        assert len(bins["shares"]) == len(bins["edges"]) + 1 == 10
        assert bins["shares"] == pytest.approx([0.1] * 10, abs=0.005)


def _accepted(*digests: str) -> dict[str, Any]:
    """Return what is kept after data sets were accepted in turn."""
    profiles: dict[str, Any] = {}
    for digest in digests:
        profiles = next_profiles(profiles, {"digest": digest})
    return profiles


REFERENCES: dict[str, tuple[tuple[str, ...], str, str | None]] = {
    "nothing was accepted": ((), "a", None),
    "the first data again": (("a",), "a", None),
    "other data than the first": (("a",), "b", "a"),
    "the second data again": (("a", "b"), "b", "a"),
    "and again": (("a", "b", "b", "b"), "b", "a"),
    "the third data": (("a", "b"), "c", "b"),
    "back to the first": (("a", "b"), "a", "b"),
}


@pytest.mark.parametrize(
    ("accepted", "today", "expected"), REFERENCES.values(), ids=REFERENCES.keys()
)
def test_data_is_compared_with_the_last_accepted_data_other_than_itself(
    accepted: tuple[str, ...], today: str, expected: str | None
) -> None:
    found = reference_for(_accepted(*accepted), today)
    assert (found and found["digest"]) == expected


def test_validating_the_same_data_again_changes_nothing() -> None:
    once = _accepted("a", "b")
    assert next_profiles(once, {"digest": "b"}) == once
    assert once["accepted"] == {"digest": "b"}
