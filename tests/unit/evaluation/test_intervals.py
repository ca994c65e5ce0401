"""Intervals: how sure a metric is, counted in groups and not in images."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cracks.evaluation.intervals import _Ranked, measure_with_intervals, rate_with_interval
from cracks.evaluation.metrics import Cracked, Scored, Scores, measure

RESAMPLES = 200


def _judged(patches: int, seed: int = 0) -> tuple[Cracked, Scores]:
    """Return labels and scores that tell them apart well, but not always."""
    random = np.random.default_rng(seed)
    cracked = np.arange(patches) % 2 == 0
    return cracked, np.clip(cracked * 0.5 + random.normal(0.25, 0.15, patches), 0, 1)


def _names(numbers: Any) -> list[str]:
    return [f"photo-{number}" for number in numbers]


def _measured(
    cracked: Any,
    scores: Any,
    groups: Any,
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Any:
    """Measure patches whose photographs are known by number."""
    scored = Scored(cracked, scores, threshold, _names(groups))
    return measure_with_intervals(scored, resamples, seed)


def _width(interval: dict[str, float]) -> float:
    return interval["high"] - interval["low"]


def test_every_metric_has_an_interval_that_holds_it() -> None:
    cracked, scores = _judged(300)
    metrics = _measured(cracked, scores, range(300))
    intervals, worst = metrics.pop("intervals"), metrics.pop("worst_case_intervals")
    metrics.pop("correlations")
    assert metrics == measure(Scored(cracked, scores, 0.5, []))
    assert set(worst) == set(intervals) == set(metrics) - {"patches", "confusion"}
    for name, interval in intervals.items():
        assert 0 <= interval["low"] <= metrics[name] <= interval["high"] <= 1, name
        assert 0 < _width(interval) < 0.2, name
        assert worst[name]["low"] <= interval["low"]
        assert interval["high"] <= worst[name]["high"]
    assert json.loads(json.dumps(intervals)) == intervals


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.integers(0, 5)),
        max_size=25,
    ),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_whatever_the_patches_the_intervals_are_numbers_around_their_metrics(
    patches: list[tuple[bool, float, int]], threshold: float
) -> None:
    patches += [(True, 0.9, 0), (False, 0.2, 1)]
    cracked, scores, groups = (np.array(column) for column in zip(*patches, strict=True))
    metrics = _measured(cracked, scores, groups, threshold=threshold, resamples=30)
    for name, interval in metrics["intervals"].items():
        assert 0 <= interval["low"] <= interval["high"] <= 1, name
        assert interval["low"] <= metrics[name] <= interval["high"], name


def test_the_same_seed_draws_the_same_groups() -> None:
    cracked, scores = _judged(100)
    one, same, other = (
        _measured(cracked, scores, range(100), resamples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same
    assert one["intervals"]["brier"] != other["intervals"]["brier"]


def test_the_curves_of_a_resample_are_those_of_weighted_patches() -> None:
    random = np.random.default_rng(0)
    cracked = np.arange(200) % 3 == 0
    # One decimal: many patches have the same score.
    scores = np.round(np.clip(cracked * 0.2 + random.random(200), 0, 1), 1)
    group = random.integers(0, 40, 200)
    weights = random.integers(0, 3, (5, 40)).astype(float)
    areas = _Ranked(cracked, scores, group).areas(weights)
    for row, area in zip(weights, areas, strict=True):
        weight = row[group]
        assert area[0] == pytest.approx(roc_auc_score(cracked, scores, sample_weight=weight))
        precision = average_precision_score(cracked, scores, sample_weight=weight)
        assert area[1] == pytest.approx(precision)


def test_an_area_does_not_exist_where_a_label_was_not_drawn() -> None:
    cracked, scores = np.array([True, True, False]), np.array([0.9, 0.8, 0.1])
    areas = _Ranked(cracked, scores, np.arange(3)).areas(np.array([[1.0, 2, 0], [0, 0, 3]]))
    assert np.isnan(areas).all()


def test_copies_of_a_patch_are_no_further_evidence() -> None:
    cracked, scores = _judged(100)
    once = _measured(cracked, scores, range(100))
    copies = np.repeat(np.arange(100), 10)
    together, apart = (
        _measured(cracked[copies], scores[copies], groups) for groups in (copies, range(1000))
    )
    for name in ("accuracy", "recall", "f1", "roc_auc", "brier"):
        width = _width(once["intervals"][name])
        # That copies go wrong together is seen, but not certain.
        assert 0.75 < _width(together["intervals"][name]) / width < 1.1, name
        assert _width(apart["intervals"][name]) < width / 2, name


@pytest.mark.parametrize("groups", [60, 300, 1500])
def test_if_photographs_fail_as_a_whole_the_rule_of_three_holds_for_them(groups: int) -> None:
    cracked, names = np.arange(4 * groups) < 2 * groups, np.arange(4 * groups) % groups
    recall = _measured(cracked, cracked * 1.0, names)["worst_case_intervals"]["recall"]
    assert recall["high"] == 1
    # Both sides of 95 %: 3.7 in place of 3; few groups leave a little more room.
    assert 3.6 < groups * (1 - recall["low"]) < 4.0


def test_mistakes_that_are_spread_make_an_interval_narrow_and_whole_photographs_wide() -> None:
    cracked, photo = np.arange(2000) < 1000, np.arange(2000) % 1000 // 20
    spread, whole = (
        _measured(cracked, np.where(wrong, 0.4, cracked * 1.0), photo)
        for wrong in (
            cracked & (np.arange(2000) % 20 == 0),
            cracked & (photo % 20 == 0),
        )
    )
    assert spread["recall"] == pytest.approx(whole["recall"], abs=0.011)
    assert spread["correlations"]["recall"] < 0.05
    assert whole["correlations"]["recall"] > 0.8
    assert _width(whole["intervals"]["recall"]) > 3 * _width(spread["intervals"]["recall"])
    worst = spread["worst_case_intervals"]["recall"]
    assert _width(worst) > 2 * _width(spread["intervals"]["recall"])


def test_a_perfect_test_split_is_no_proof_of_a_perfect_model() -> None:
    cracked = np.arange(400) < 80
    metrics = _measured(cracked, cracked * 1.0, range(400))
    for name, interval in metrics["intervals"].items():
        low, high = interval["low"], interval["high"]
        assert (high if name in ("brier", "ece") else 1 - low) > 2.5 / 400, name
    # There are fewer cracks than clean patches, so less is known of them.
    assert 1 - metrics["intervals"]["recall"]["low"] > 2.4 / 80
    assert 1 - metrics["intervals"]["roc_auc"]["low"] > 2.4 / 80


def test_in_the_worst_case_a_first_mistake_never_makes_an_interval_promise_more() -> None:
    patches = np.arange(1000)
    cracked, photo = np.concatenate([patches >= 0, patches < 0]), np.tile(patches // 10, 2)

    def lowest(hits: Any) -> float:
        scores = np.concatenate([hits * 1.0, np.zeros(1000)])
        measured = _measured(cracked, scores, photo, resamples=500)
        return float(measured["worst_case_intervals"]["recall"]["low"])

    whole = [lowest(patches >= 10 * wrong) for wrong in range(6)]
    alone = [lowest(~np.isin(patches, 10 * np.arange(wrong))) for wrong in range(6)]
    assert whole == sorted(whole, reverse=True)
    assert max(alone) <= alone[0] + 0.002


def test_where_each_patch_counts_by_itself_the_interval_is_the_usual_one() -> None:
    hits = np.arange(2000) % 4 != 0
    found = rate_with_interval(hits, _names(range(2000)))
    error = np.sqrt(0.75 * 0.25 / 2000)
    assert found["low"] == pytest.approx(0.75 - 1.96 * error, abs=0.002)
    assert found["high"] == pytest.approx(0.75 + 1.96 * error, abs=0.002)


@pytest.mark.parametrize("labels", ["together", "apart"])
def test_of_one_or_two_groups_nothing_is_claimed(labels: str) -> None:
    cracked, scores = _judged(40)
    groups = np.zeros(40) if labels == "together" else cracked
    intervals = _measured(cracked, scores, groups)["intervals"]
    assert intervals["recall"] == intervals["roc_auc"] == {"low": 0.0, "high": 1.0}
    assert all(_width(interval) > 0.4 for interval in intervals.values())


def test_a_model_that_never_calls_a_crack_has_no_known_precision() -> None:
    cracked, scores = _judged(40)
    intervals = _measured(cracked, scores / 2, range(40), threshold=0.9)["intervals"]
    assert intervals["precision"] == {"low": 0.0, "high": 1.0}
    assert intervals["recall"]["low"] == 0 < intervals["recall"]["high"] < 0.4


def test_a_rare_crack_that_is_often_not_drawn_is_still_measured() -> None:
    cracked, scores = np.arange(50) < 2, np.linspace(1, 0, 50)
    assert _measured(cracked, scores, range(50))["intervals"]["recall"]["low"] < 0.4


def test_scores_that_keep_their_word_may_have_no_calibration_error_at_all() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(20):
        scores = random.random(300)
        cracked = random.random(300) < scores
        metrics = _measured(cracked, scores, range(300), resamples=100)
        held += metrics["intervals"]["ece"]["low"] < 0.005
    assert held >= 18


def test_of_no_patches_there_is_no_rate() -> None:
    nothing = rate_with_interval(np.array([], bool), [])
    assert nothing == {"rate": None, "low": None, "high": None, "patches": 0}


@pytest.mark.parametrize(
    ("group_is_wrong", "patch_is_wrong"),
    [(1.0, 0.002), (1.0, 0.03), (0.03, 0.1), (0.03, 0.5), (0.2, 0.3)],
)
def test_nineteen_of_twenty_intervals_hold_the_truth(
    group_is_wrong: float, patch_is_wrong: float
) -> None:
    random, splits, groups, size = np.random.default_rng(0), 200, 120, 5
    truth = 1 - group_is_wrong * patch_is_wrong
    names, held = _names(np.repeat(np.arange(groups), size)), 0
    for _ in range(splits):
        wrong = np.repeat(random.random(groups) < group_is_wrong, size)
        hits = ~(wrong & (random.random(groups * size) < patch_is_wrong))
        found = rate_with_interval(hits, names)
        held += found["low"] <= truth <= found["high"]
    # Two standard errors below 95 %.
    assert held / splits >= 0.92
