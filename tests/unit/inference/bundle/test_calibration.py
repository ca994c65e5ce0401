"""Calibration: a score of 0.9 is right nine times in ten, and no prediction is ever certain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cracks.evaluation.metrics import calibration_bins
from cracks.inference.bundle.calibration import (
    COLDEST,
    HOTTEST,
    Calibration,
    Cracked,
    Method,
    Scores,
    calibration_report,
    expected_calibration_error,
    fit_calibration,
)

FITTED: list[Method] = ["temperature", "isotonic"]
METHODS: list[Method] = [*FITTED, "none"]


def _sigmoid(logits: Scores) -> Scores:
    return 1 / (1 + np.exp(-logits))


def _boasting(factor: float, patches: int = 6000) -> tuple[Cracked, Scores]:
    """Return labels, and scores whose logits are `factor` times what they should be."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, patches)
    return random.random(patches) < _sigmoid(logits), _sigmoid(logits * factor)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_the_logits_were_multiplied_by(factor: float) -> None:
    found = fit_calibration("temperature", *_boasting(factor)).temperature
    assert found == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("method", FITTED)
def test_calibrated_scores_keep_their_word_better(method: Method) -> None:
    cracked, scores = _boasting(3.0)
    half = len(scores) // 2
    calibration = fit_calibration(method, cracked[:half], scores[:half])
    report = calibration_report(calibration, cracked[half:], scores[half:])
    assert report["method"] == method
    for measure in ("ece", "brier", "log_loss"):
        assert report["after"][measure] < report["before"][measure] * 0.95, measure
    assert report["after"]["ece"] < report["before"]["ece"] / 3


def test_no_calibration_changes_nothing() -> None:
    cracked, scores = _boasting(2.0)
    calibration = fit_calibration("none", cracked, scores)
    assert np.array_equal(calibration.apply(scores), scores)
    report = calibration_report(calibration, cracked, scores)
    assert report["before"] == report["after"]


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize(
    "certain", [(0.0, 1.0), (1e-12, 1 - 1e-12), (0.4, 0.6), (0.49999, 0.50001)]
)
def test_a_split_that_is_separated_perfectly_does_not_make_predictions_certain(
    method: Method, certain: tuple[float, float]
) -> None:
    cracked = np.arange(1000) % 2 == 0
    scores = np.where(cracked, certain[1], certain[0])
    calibration = fit_calibration(method, cracked, scores)
    calm = calibration.apply(scores)
    # Of 500 that were all right the next may be wrong.
    assert calm.max() <= 1 - 1 / 503
    assert calm.min() >= 1 / 503
    assert (calm[cracked] > 0.5).all()
    assert calibration.temperature is None or COLDEST <= calibration.temperature <= HOTTEST


def test_a_rare_label_leaves_the_common_one_as_certain_as_its_number_allows() -> None:
    cracked = np.arange(1010) < 10
    calm = fit_calibration("temperature", cracked, np.where(cracked, 0.8, 0.2)).apply(
        np.array([0.2, 0.8])
    )
    # Of the 10 cracks and of the 1000 others the next may be wrong: 11 of 12, 1001 of 1002.
    right = (10 * 11 / 12 + 1000 * 1001 / 1002) / 1010
    assert calm == pytest.approx([1 - right, right], abs=1e-4)


def test_a_temperature_is_bounded_even_where_the_scores_are_upside_down() -> None:
    cracked, scores = _boasting(1.0)
    assert fit_calibration("temperature", ~cracked, scores).temperature == pytest.approx(
        HOTTEST, rel=1e-3
    )


def test_scores_that_say_nothing_are_left_alone() -> None:
    cracked, scores = np.arange(10) < 3, np.full(10, 0.5)
    assert fit_calibration("temperature", cracked, scores).temperature == 1
    isotonic = fit_calibration("isotonic", cracked, scores)
    assert isotonic.knots == ((0.5, pytest.approx(4 / 12)),)


def test_steps_are_smoothed_by_the_rule_of_succession() -> None:
    cracked = np.array([False] * 8 + [True, False, True, False] + [True] * 6)
    scores = np.array([0.1] * 4 + [0.2] * 4 + [0.5, 0.5, 0.6, 0.6] + [0.9] * 6)
    knots = fit_calibration("isotonic", cracked, scores).knots
    assert [score for score, _ in knots] == [0.1, 0.2, 0.5, 0.6, 0.9]
    assert [p for _, p in knots] == pytest.approx([1 / 10, 1 / 10, 3 / 6, 3 / 6, 7 / 8])


def test_a_short_step_does_not_overtake_a_long_one_by_smoothing() -> None:
    cracked = np.concatenate([[False], np.arange(100) < 20, np.full(5, True)])
    scores = np.concatenate([[0.1], np.full(100, 0.5), np.full(5, 0.9)])
    probabilities = [p for _, p in fit_calibration("isotonic", cracked, scores).knots]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] == pytest.approx((1 + 21) / (3 + 102))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), max_size=40),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_whatever_was_fitted_no_patch_overtakes_another_and_all_stay_within_bounds(
    method: Method, patches: list[tuple[bool, float]], asked: list[float]
) -> None:
    patches += [(True, 0.7), (False, 0.3)]
    cracked, scores = (np.array(column) for column in zip(*patches, strict=True))
    calibration = fit_calibration(method, cracked, scores)
    probabilities = calibration.apply(np.sort(asked))
    assert probabilities.dtype == np.float64
    assert (np.diff(probabilities) >= -1e-12).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert np.isfinite(
        list(calibration_report(calibration, cracked, scores)["after"].values())
    ).all()
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_a_network_in_single_precision_are_taken(method: Method) -> None:
    cracked, scores = _boasting(2.0)
    calibration = fit_calibration(method, cracked, scores)
    single = calibration.apply(scores.astype(np.float32))
    assert single.dtype == np.float64
    # A step between two neighbouring scores is steep: few patches may fall on its other side.
    assert np.abs(single - calibration.apply(scores)).mean() < 1e-5
    assert calibration.apply(np.zeros(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize("label", [True, False])
def test_one_label_alone_calibrates_nothing(method: Method, label: bool) -> None:
    with pytest.raises(ValueError, match="both labels must occur"):
        fit_calibration(method, np.full(4, label), np.full(4, 0.5))


@pytest.mark.parametrize(
    "content",
    [
        {"method": "beta"},
        {"method": "none", "temperature": 2.0},
        {"method": "temperature"},
        {"method": "temperature", "temperature": 0.0},
        {"method": "temperature", "temperature": -1.0},
        {"method": "temperature", "temperature": float("nan")},
        {"method": "temperature", "temperature": 1e9},
        {"method": "temperature", "temperature": 1.0, "knots": [[0.1, 0.2]]},
        {"method": "isotonic"},
        {"method": "isotonic", "knots": [[0.1, 0.2], [0.1, 0.3]]},
        {"method": "isotonic", "knots": [[0.1, 0.3], [0.2, 0.2]]},
        {"method": "isotonic", "knots": [[0.1, 0.0]]},
        {"method": "isotonic", "knots": [[0.1, 1.0]]},
        {"method": "isotonic", "knots": [[-0.1, 0.5]]},
        {"method": "isotonic", "knots": [[0.1]]},
        {"method": "none", "colour": "red"},
        [],
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(content: Any) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(content)


def test_the_error_is_the_mean_distance_of_word_and_deed() -> None:
    cracked = np.array([True, False, True, False])
    scores = np.array([0.62, 0.65, 0.95, 1.0])
    # Bins of a fifteenth: 0.62 and 0.65 share one, 0.95 and 1.0 the last.
    expected = (abs(1.27 - 1) + abs(1.95 - 1)) / 4
    assert expected_calibration_error(cracked, scores) == pytest.approx(expected)
    assert expected_calibration_error(cracked, scores, bins=1) == pytest.approx((3.22 - 2) / 4)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_that_of_the_drawn_bins(bins: int) -> None:
    cracked, scores = _boasting(2.0)
    rows = calibration_bins(cracked, scores, bins)
    apart = sum(row["patches"] * abs(row["score"] - row["share_of_cracks"]) for row in rows)
    assert expected_calibration_error(cracked, scores, bins) == pytest.approx(apart / len(scores))


def test_calibrated_by_nature_is_nearly_without_error() -> None:
    assert expected_calibration_error(*_boasting(1.0)) < 0.03
    assert expected_calibration_error(*_boasting(4.0)) > 0.1
