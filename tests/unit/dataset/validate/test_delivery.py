"""A delivery: what is new is measured by itself, and counted in photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.validate.delivery import (
    accepted_table,
    drift_beyond_chance,
    measure_delivery,
    new_patches,
)
from cracks.dataset.validate.drift import NO_DRIFT, WATCHED

LARGE = 0.25


def _patches(
    photographs: int, of_each: int, seed: int, *, cracks: float = 0.3, **shift: float
) -> pd.DataFrame:
    """Return patches of photographs whose looks differ more from each other than within one."""
    random = np.random.default_rng(seed)
    photo = np.repeat(np.arange(photographs), of_each)
    facts = {
        name: random.normal(100 + shift.get(name, 0.0), 20, photographs)[photo]
        + random.normal(0, 3, len(photo))
        for name in WATCHED
    }
    cracked = random.random(len(photo)) < cracks
    label = np.where(cracked, CRACK, NO_CRACK)
    return pd.DataFrame({"site": "pier", "label": label, "photo": photo, **facts})


def _delivered(before: pd.DataFrame, after: pd.DataFrame) -> Any:
    whole = pd.concat([before, after.assign(photo=after["photo"] + 10_000)], ignore_index=True)
    new = np.arange(len(whole)) >= len(before)
    return measure_delivery(whole, whole["photo"].to_numpy(), new)


@pytest.mark.parametrize("photographs", [1, 2, 5, 20, 100])
def test_more_photographs_of_the_same_kind_are_no_drift(photographs: int) -> None:
    before = _patches(200, 16, seed=0)
    found = [_delivered(before, _patches(photographs, 16, seed=seed)) for seed in range(1, 21)]
    drifted = sum(max(one["drift"][name] for name in WATCHED) > LARGE for one in found)
    # Three facts, each in one of a hundred cases at most.
    assert drifted <= 2
    assert sum(one["drift"]["crack_share"] > 0.1 for one in found) <= 1


@pytest.mark.parametrize("name", WATCHED)
def test_twenty_photographs_of_another_kind_are_seen_among_a_thousand(name: str) -> None:
    found = _delivered(_patches(1000, 8, seed=0), _patches(20, 8, seed=1, **{name: 60.0}))
    assert found["drift"][name] > LARGE
    assert max(found["drift"][other] for other in WATCHED if other != name) < LARGE


def test_a_delivery_with_many_more_cracks_is_seen() -> None:
    found = _delivered(_patches(200, 16, seed=0), _patches(20, 16, seed=1, cracks=0.8))
    assert 0.3 < found["drift"]["crack_share"] < 0.5


def test_of_one_photograph_no_change_of_the_cracks_is_claimed() -> None:
    found = _delivered(_patches(200, 16, seed=0), _patches(1, 16, seed=1, cracks=1.0))
    assert found["drift"]["crack_share"] == 0


def test_a_delivery_is_named_by_its_sites_and_counts() -> None:
    after = _patches(3, 10, seed=1).assign(site=["bridge 7"] * 20 + ["bridge 8"] * 10)
    found = _delivered(_patches(20, 10, seed=0), after)
    assert found["sites"] == {"bridge 7": 20, "bridge 8": 10}
    assert (found["patches"], found["photographs"]) == (30, 3)
    assert found["cracks"] == (after["label"] == CRACK).sum()
    assert found["drift"].keys() == NO_DRIFT.keys()


@pytest.mark.parametrize("new", [np.zeros(160, bool), np.ones(160, bool)])
def test_where_nothing_is_new_or_everything_there_is_no_delivery(
    new: npt.NDArray[np.bool_],
) -> None:
    patches = _patches(10, 16, seed=0)
    assert measure_delivery(patches, patches["photo"].to_numpy(), new) is None


def test_a_look_that_never_varied_is_drift_as_soon_as_it_changes() -> None:
    flat = np.full(50, 100.0)
    assert drift_beyond_chance(flat, np.full(5, 100.0)) == 0
    assert drift_beyond_chance(flat, np.full(5, 90.0)) > LARGE


def test_new_is_what_was_not_accepted_and_the_same_again_for_the_same_data() -> None:
    first = new_patches(["a", "b"], None, same_data=False)
    assert not first.any()
    second = new_patches(["a", "b", "c", "c"], accepted_table(["a", "b"], first), same_data=False)
    assert second.tolist() == [False, False, True, True]
    accepted = accepted_table(["a", "b", "c", "c"], second)
    assert accepted["id"].to_pylist() == ["a", "b", "c"]
    assert new_patches(["a", "b", "c", "c"], accepted, same_data=True).tolist() == second.tolist()
    assert new_patches(["a", "c", "d"], accepted, same_data=False).tolist() == [False, False, True]
