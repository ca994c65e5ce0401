"""Metrics: what the numbers mean, and the threshold that is chosen from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.evaluation.metrics import (
    Cracked,
    Scored,
    Scores,
    calibration_bins,
    choose_threshold,
    classification_table,
    curves,
    least_certain,
    measure,
    worst_mistakes,
)

Judged = tuple[Cracked, Scores]

#: One crack found, one missed, one false alarm, one clean patch passed.
CRACKED = np.array([True, True, False, False])
SCORES = np.array([0.9, 0.4, 0.6, 0.1])


def _scored(cracked: Cracked, scores: Scores, threshold: float = 0.5) -> Scored:
    return Scored(cracked, scores, threshold, [])


@st.composite
def judged(draw: st.DrawFn) -> Judged:
    """Draw the labels and scores of some patches, of which at least one of each label."""
    score = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    rows = draw(st.lists(st.tuples(st.booleans(), score), max_size=30))
    rows += [(True, draw(score)), (False, draw(score))]
    return np.array([cracked for cracked, _ in rows]), np.array([value for _, value in rows])


def _errors(cracked: Cracked, scores: Scores, threshold: float) -> int:
    return int(((scores >= threshold) != cracked).sum())


def _found(cracked: Cracked, scores: Scores, threshold: float) -> int:
    return int((scores[cracked] >= threshold).sum())


def _every_threshold(scores: Scores) -> list[float]:
    """Return a threshold for each way to part the scores."""
    above = np.nextafter(scores.max(), 2)
    return [float(t) for t in [*scores, above] if t <= 1]


def test_the_metrics_are_those_of_the_textbook() -> None:
    assert measure(_scored(CRACKED, SCORES)) == {
        "patches": 4,
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "specificity": 0.5,
        "f1": 0.5,
        "roc_auc": 0.75,
        "pr_auc": pytest.approx((1 + 2 / 3) / 2),
        "brier": pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4),
        "ece": pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4),
        "confusion": {"found_cracks": 1, "missed_cracks": 1, "false_alarms": 1, "clean_passed": 1},
    }


def test_a_score_at_the_threshold_is_a_crack() -> None:
    assert measure(_scored(CRACKED, SCORES, 0.4))["confusion"]["missed_cracks"] == 0
    assert measure(_scored(CRACKED, SCORES, 0.9))["confusion"]["found_cracks"] == 1


@settings(max_examples=50)
@given(judged(), st.floats(0, 1))
def test_every_patch_is_counted_once_and_every_metric_is_a_share(
    patches: Judged, threshold: float
) -> None:
    metrics = measure(_scored(*patches, threshold))
    counts = metrics.pop("confusion")
    assert sum(counts.values()) == metrics.pop("patches") == len(patches[0])
    assert metrics["accuracy"] == pytest.approx(1 - _errors(*patches, threshold) / len(patches[0]))
    assert all(0 <= value <= 1 for value in metrics.values())


@settings(max_examples=50)
@given(judged(), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_lower_threshold_never_misses_more_cracks(
    patches: Judged, one: float, other: float
) -> None:
    low, high = (measure(_scored(*patches, threshold)) for threshold in sorted((one, other)))
    assert low["recall"] >= high["recall"]
    assert (low["roc_auc"], low["brier"]) == (high["roc_auc"], high["brier"])


@pytest.mark.parametrize("label", [True, False])
def test_a_split_of_one_label_cannot_be_measured(label: bool) -> None:
    with pytest.raises(ValueError, match="both labels must occur"):
        measure(_scored(np.full(4, label), SCORES))


@given(judged(), st.one_of(st.floats(0.01, 1), st.sampled_from([0.5, 0.9, 0.95, 1.0])))
def test_the_chosen_threshold_keeps_the_recall_and_no_other_is_more_accurate(
    patches: Judged, min_recall: float
) -> None:
    cracks = int(patches[0].sum())
    chosen = choose_threshold(*patches, min_recall)
    assert 0 <= chosen <= 1
    assert _found(*patches, chosen) >= min_recall * cracks - 1e-6
    for other in _every_threshold(patches[1]):
        if _found(*patches, other) >= min_recall * cracks:
            assert _errors(*patches, chosen) <= _errors(*patches, other), other


def test_where_no_crack_need_be_found_calling_all_clean_may_be_most_accurate() -> None:
    cracked, scores = np.array([True, False, False]), np.array([0.7, 0.8, 0.9])
    assert _errors(cracked, scores, choose_threshold(cracked, scores, 0.0)) == 1


def test_a_recall_of_nineteen_in_twenty_may_miss_one_of_twenty() -> None:
    cracked = np.array([True] * 20 + [False] * 3)
    scores = np.array([0.9] * 19 + [0.1] + [0.2] * 3)
    assert _errors(cracked, scores, choose_threshold(cracked, scores, 0.95)) == 1
    assert _found(cracked, scores, choose_threshold(cracked, scores, 0.951)) == 20


def test_of_equally_accurate_thresholds_the_one_nearest_to_a_half_wins() -> None:
    cracked = np.array([True, True, False, False])
    assert choose_threshold(cracked, np.array([0.99, 0.9, 0.02, 0.01]), 0.95) == 0.5
    assert choose_threshold(cracked, np.array([0.99, 0.9, 0.7, 0.01]), 0.95) == pytest.approx(0.8)
    # One patch is predicted wrongly at 0.25, and at 0.5 to 0.7.
    mixed = np.array([True, False, True, False])
    assert choose_threshold(mixed, np.array([0.7, 0.4, 0.3, 0.2]), 0.5) == 0.5


def test_the_curves_run_from_corner_to_corner() -> None:
    tables = curves(_scored(CRACKED, SCORES), SCORES)
    assert tables["roc"][0] == {"false_alarm_rate": 0, "crack_recall": 0}
    assert tables["roc"][-1] == {"false_alarm_rate": 1, "crack_recall": 1}
    assert tables["precision_recall"][0] == {"crack_recall": 1, "precision": 0.5}
    assert tables["answers"] == [
        {"actual": "crack", "predicted": "crack"},
        {"actual": "crack", "predicted": "no crack"},
        {"actual": "no crack", "predicted": "crack"},
        {"actual": "no crack", "predicted": "no crack"},
    ]


@given(judged())
def test_every_patch_falls_into_one_bin_of_the_calibration(patches: Judged) -> None:
    bins = calibration_bins(*patches)
    total = sum(row["patches"] for row in bins)
    cracks = sum(row["patches"] * row["share_of_cracks"] for row in bins)
    assert total == len(patches[0])
    assert math.isclose(cracks, patches[0].sum())
    assert [row["score"] for row in bins] == sorted(row["score"] for row in bins)


def test_the_most_certain_mistakes_come_first() -> None:
    cracked = np.array([True, False, True, False, True])
    scores = np.array([0.4, 0.9, 0.05, 0.1, 0.8])
    assert worst_mistakes(_scored(cracked, scores), 9).tolist() == [2, 1, 0]
    assert worst_mistakes(_scored(cracked, scores), 2).tolist() == [2, 1]
    assert worst_mistakes(_scored(cracked, cracked.astype(float)), 9).tolist() == []


def test_the_least_certain_lie_nearest_to_the_threshold_on_either_side() -> None:
    scored = _scored(np.ones(5, bool), np.array([0.0, 0.31, 0.99, 0.2, 0.45]), 0.3)
    assert least_certain(scored, 3).tolist() == [1, 3, 4]
    assert least_certain(scored, 9).tolist() == [1, 3, 4, 0, 2]


def test_the_table_of_classes_names_both_labels() -> None:
    lines = [line.split() for line in classification_table(_scored(CRACKED, SCORES)).splitlines()]
    assert ["no", "crack", "0.50", "0.50", "0.50", "2"] in lines
    assert ["crack", "0.50", "0.50", "0.50", "2"] in lines
