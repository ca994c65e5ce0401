"""The comparison of two models: chance is not taken for skill, nor few photographs for many."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.registry import Simulated, false_verdicts
from cracks.evaluation.paired_comparison import (
    COUNTED_GROUPS,
    Difference,
    compare,
    exchange_test,
    mcnemar,
)

CONFIDENCE = 0.95


def of_groups(sizes: list[int], gained: int = 0, lost: int = 0) -> list[Difference]:
    """Compare two models on cracked groups, of which the last ones are wholly gained or lost."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    challenger = groups < len(sizes) - lost
    champion = (groups < len(sizes) - lost - gained) | (groups >= len(sizes) - lost)
    cracked = np.ones(len(groups), bool)
    return compared(cracked, challenger, champion, groups)


def compared(cracked: Any, challenger: Any, champion: Any, groups: Any) -> list[Difference]:
    return compare(
        cracked, challenger, champion, groups, confidence=CONFIDENCE, resamples=1000, seed=1
    )


def recall(differences: list[Difference]) -> Difference:
    return next(one for one in differences if one.metric == "recall")


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "changed"), [(5, 0), (50, 0), (500, 0), (200, 1), (200, 3), (200, 10)]
)
def test_where_every_group_is_one_patch_the_bounds_are_those_of_clopper_and_pearson(
    groups: int, changed: int
) -> None:
    """Of equal predictions: three by the number of groups."""
    worse, better = (
        recall(of_groups([1] * groups, **{how: changed})) for how in ("lost", "gained")
    )
    exact = pytest.approx(stats.beta.ppf(CONFIDENCE, changed + 1, groups - changed), rel=0.08)
    assert (-worse.low, better.high) == (exact, exact)
    assert better.difference == -worse.difference == changed / groups


def test_patches_of_one_photograph_are_no_further_evidence() -> None:
    few, many = (recall(of_groups([size] * 30, lost=2)) for size in (1, 40))
    assert many.low == pytest.approx(few.low, abs=1e-6)
    assert many.p_lower == few.p_lower
    assert many.mcnemar_p < few.mcnemar_p  # which takes them for independent


def test_a_bound_lies_on_its_side_of_the_difference() -> None:
    one = recall(of_groups([3] * 40, gained=4, lost=9))
    assert one.low < one.difference < one.high


def test_the_crack_recall_knows_only_cracks() -> None:
    cracked = np.repeat([True, False], 50)
    groups = np.arange(100)
    champion = cracked.copy()
    champion[50:80] = True  # thirty false alarms that the challenger does not give
    accuracy, found = compared(cracked, cracked, champion, groups)
    assert (accuracy.gained, accuracy.difference, accuracy.patches) == (30, 0.3, 100)
    assert (found.gained, found.difference, found.patches, found.groups) == (0, 0.0, 50, 50)
    assert accuracy.p_higher < 0.001
    assert found.p_higher > 0.5


# --- chance ---------------------------------------------------------------------------------------


def test_a_model_against_itself_shows_nothing() -> None:
    for one in of_groups([7, 1, 30, 2] * 20):
        assert (one.p_higher, one.p_lower, one.mcnemar_p) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("groups", "p"), [(1, 1 / 2), (4, 1 / 16), (5, 1 / 32), (9, 1 / 512)])
def test_few_groups_that_all_gain_prove_no_more_than_that_many_throws_of_a_coin(
    groups: int, p: float
) -> None:
    for one in of_groups([6] * 100, gained=groups):
        assert one.p_higher == pytest.approx(p, abs=1e-6)


@given(st.integers(0, 10), st.integers(0, 10))
def test_where_every_group_is_one_patch_the_exchange_is_mcnemars_exact_test(
    gained: int, lost: int
) -> None:
    one = recall(of_groups([1] * 25, gained=gained, lost=lost))
    side = min(one.p_higher, one.p_lower)
    # Drawn exchanges, where there are too many to count, know a p to 0.005 (standard error).
    tolerance = 2e-6 if gained + lost <= COUNTED_GROUPS else 0.05
    assert min(1.0, 2 * side) == pytest.approx(mcnemar(gained, lost), abs=tolerance)


def test_the_exact_test_is_that_of_the_binomial_distribution() -> None:
    assert mcnemar(9, 4) == pytest.approx(0.266846, abs=1e-6)  # 9 errors against 4, of 6,000
    assert mcnemar(0, 0) == 1.0


def test_all_exchanges_are_counted_where_they_are_few() -> None:
    differences = np.array([[3.0, -1.0, 2.0, 5.0], [1.0, 0.0, -2.0, 0.0]])
    lengths = np.sqrt((differences**2).sum(axis=1))
    sums = [
        (differences * signs).sum(axis=1) / lengths
        for signs in itertools.product([1, -1], repeat=4)
    ]
    observed = differences.sum(axis=1) / lengths
    expected = [np.mean([max(one) >= own - 1e-9 for one in sums]) for own in observed]
    assert [p for p, _ in exchange_test(differences)] == pytest.approx(expected)


def test_drawn_exchanges_agree_with_counted_ones() -> None:
    differences = np.tile([4.0, 3.0, -1.0, 2.0, 1.0, -2.0], (1, 2))
    (counted,) = exchange_test(differences)
    # Two groups that together say nothing: one more than can be counted, and no other result.
    (drawn,) = exchange_test(np.hstack([differences, [[1e-12, -1e-12]]]))
    assert drawn == pytest.approx(counted, abs=0.02)


def test_two_metrics_are_two_chances_to_be_wrong() -> None:
    alone = np.ones((1, 5))
    both = np.zeros((2, 10))
    both[0, :5] = both[1, 5:] = 1
    assert exchange_test(alone)[0][0] == 1 / 32
    assert exchange_test(both)[0][0] == pytest.approx(1 - (31 / 32) ** 2)
    # Not where both are of the same mistakes.
    assert exchange_test(np.ones((2, 5)))[0][0] == 1 / 32


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_exchanging_the_models_exchanges_the_chances(sums: list[int]) -> None:
    differences = np.array([sums], float)
    (higher, lower), (other_higher, other_lower) = (
        exchange_test(sign * differences)[0] for sign in (1, -1)
    )
    assert (higher, lower) == (other_lower, other_higher)
    assert 0 < min(higher, lower) <= 1


def test_equal_inputs_give_equal_numbers() -> None:
    assert of_groups([2] * 60, gained=9, lost=8) == of_groups([2] * 60, gained=9, lost=8)


def test_without_a_crack_there_is_no_recall_to_compare() -> None:
    nothing = np.zeros(3, bool)
    with pytest.raises(ValueError, match="no patch is cracked"):
        compared(nothing, nothing, nothing, ["a", "b", "c"])


# --- the rates of error ---------------------------------------------------------------------------


def test_of_equal_models_few_are_called_better_or_worse() -> None:
    # A small one of what `make bench ONLY=registry` runs 500 times: a rate of 5 % may show as this.
    rates = false_verdicts(Simulated(), simulations=60, seed=0)
    assert 0 < rates["better"] + rates["worse"] <= 0.2
    assert max(rates["better"], rates["worse"]) <= 0.14


def test_of_models_that_lose_what_the_margin_allows_few_pass() -> None:
    rates = false_verdicts(Simulated(at_the_margin=True), simulations=60, seed=0)
    assert rates["better"] + rates["not worse"] <= 0.14
