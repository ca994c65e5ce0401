"""Evaluation: validation decides, test is only measured, and the network sees what service sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info

from cracks.evaluation.metrics import Scores
from cracks.evaluation.protocol import (
    REFERENCE,
    HeldOut,
    decide,
    flagged_surfaces,
    held_out,
    measured,
    one_thread,
    predictor_with,
    rates_by_kind,
    reference_features,
)
from cracks.images.decode import decode_to_size
from cracks.images.synthetic_surfaces import MATERIALS
from cracks.inference.bundle.calibration import Calibration
from cracks.inference.bundle.novelty import fit_novelty
from cracks.inference.runtime.openvino_runtime import Batch, Outputs
from cracks.training.features.arrays import FeatureRows, SplitFeatures
from cracks.workspace.params import EvaluateParams
from tests.unit.builders import params_with, picture

SIZE = 16


class Computing:
    """A half of a classifier that computes every row by itself."""

    def __init__(self, compute: Callable[[npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]) -> None:
        self._compute = compute

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        for batch in batches:
            yield {name: np.float32(rows) for name, rows in self._compute(batch).items()}


#: Gives pixels as they are, half a grey value brighter: what whole numbers on disk do not hold.
BRIGHTER = Computing(lambda batch: {"features": batch.astype(np.float32) + 0.5})

#: Scores the mean of whatever it gets; its features are mean and largest.
MEAN = Computing(
    lambda batch: {
        "score": batch.reshape(len(batch), -1).mean(axis=1, keepdims=True) / 255,
        "features": np.stack(
            [
                batch.reshape(len(batch), -1).mean(axis=1),
                batch.reshape(len(batch), -1).max(axis=1),
            ],
            axis=1,
        ),
    }
)


def _part(features: npt.NDArray[Any], split: str = "test") -> SplitFeatures:
    ids = [f"{i:04}" for i in range(len(features))]
    cracked = np.arange(len(features)) % 2 == 0
    return SplitFeatures(split, ids, cracked, ids, FeatureRows.of(features))


def _section(**changes: Any) -> EvaluateParams:
    return params_with().evaluate.model_copy(update={"resamples": 100, **changes})


def _held_out(split: str, raw: Scores, seed: int) -> HeldOut:
    features = np.random.default_rng(seed).standard_normal((len(raw), 6)).astype(np.float32)
    return HeldOut(_part(features, split), raw, features)


def _scores(count: int, seed: int) -> Scores:
    """Return scores that mostly tell the labels of `_part`."""
    logits = np.random.default_rng(seed).normal(np.where(np.arange(count) % 2 == 0, 2, -2), 1.5)
    return np.asarray(1 / (1 + np.exp(-logits)))


#: What novelty is measured against.
TRAINING = np.random.default_rng(5).standard_normal((500, 6)).astype(np.float32)
VALIDATION = _held_out("validation", _scores(400, 1), 1)
TEST = _held_out("test", _scores(300, 3), 3)


def test_vectors_are_scored_as_they_were_computed() -> None:
    vectors = np.random.default_rng(1).uniform(0, 255, (600, 4)).astype(np.float32)
    found = held_out(BRIGHTER, MEAN, _part(vectors), [b"nothing is decoded"] * 600, SIZE)
    assert found.raw == pytest.approx(vectors.mean(axis=1) / 255, abs=1e-6)
    assert found.features[:, 1] == pytest.approx(vectors.max(axis=1))
    assert found.raw.dtype == np.float64


def test_of_pixels_the_network_sees_what_it_will_see_in_service() -> None:
    contents = [picture(i, size=SIZE) for i in range(11)]
    pixels = np.stack([decode_to_size(content, SIZE) for content in contents])
    # What lies on disk is other than what the featurizer gives.
    found = held_out(BRIGHTER, MEAN, _part(np.zeros_like(pixels)), contents, SIZE)
    assert found.raw == pytest.approx((pixels.mean(axis=(1, 2, 3)) + 0.5) / 255, abs=1e-6)
    assert found.features.shape == (11, 2)


def test_all_vectors_are_the_reference_of_novelty_and_of_pixels_evenly_some() -> None:
    vectors = np.random.default_rng(2).standard_normal((REFERENCE + 10, 3)).astype(np.float32)
    np.testing.assert_array_equal(reference_features(MEAN, _part(vectors)), vectors)
    greys = (np.arange(REFERENCE * 2) % 251).astype(np.uint8)
    pixels = np.broadcast_to(greys[:, None, None, None], (len(greys), 2, 2, 3))
    some = reference_features(MEAN, _part(pixels))
    assert some.shape == (REFERENCE, 2)
    assert some[[0, -1], 0].tolist() == [greys[0], greys[-1]]


def test_validation_decides_and_test_changes_nothing_of_it() -> None:
    decided = decide(_section(), VALIDATION, TRAINING)
    scored = decided.scored(VALIDATION)
    recall = scored.called[scored.cracked].mean()
    assert recall >= _section().min_crack_recall
    assert decided.calibration.method == "temperature"
    assert decided.novelty.flagged(VALIDATION.features).mean() <= 0.02
    good, bad = (
        measured(decided, VALIDATION, replace(TEST, raw=raw), 100)
        for raw in (TEST.raw, 1 - TEST.raw)
    )
    assert good["threshold"] == bad["threshold"] == decided.threshold
    assert good["calibration"]["fitted"] == bad["calibration"]["fitted"]
    assert good["validation"] == bad["validation"]
    assert good["test"]["accuracy"] > 0.8 > 0.3 > bad["test"]["accuracy"]


@pytest.mark.parametrize("method", ["temperature", "isotonic", "none"])
def test_the_threshold_is_one_of_calibrated_scores(method: str) -> None:
    # Twice as sure as they should be.
    raw = Calibration(method="temperature", temperature=0.5).apply(VALIDATION.raw)
    validation = replace(VALIDATION, raw=raw)
    decided = decide(_section(calibration=method), validation, TRAINING)
    cracked = validation.part.cracked
    predicted = decided.calibration.apply(raw) >= decided.threshold
    found = measured(decided, validation, validation, 100)
    assert found["validation"]["accuracy"] == pytest.approx((predicted == cracked).mean())
    assert found["validation"]["recall"] == pytest.approx(predicted[cracked].mean())


def test_what_is_measured_on_test_comes_with_intervals_and_can_be_written() -> None:
    decided = decide(_section(), VALIDATION, TRAINING)
    found = measured(decided, VALIDATION, TEST, 100)
    interval = found["test"]["intervals"]["accuracy"]
    assert interval["low"] <= found["test"]["accuracy"] <= interval["high"]
    assert interval["low"] < interval["high"]
    assert "intervals" not in found["validation"]
    # What calibration does is told of the patches that did not choose it.
    for when, scores in (("before", TEST.raw), ("after", decided.calibration.apply(TEST.raw))):
        brier = np.mean((scores - TEST.part.cracked) ** 2)
        assert found["calibration"][when]["brier"] == pytest.approx(brier), when
    assert 0 <= found["novelty"]["flagged_on_test"]["rate"] < 0.1
    json.dumps(found, allow_nan=False)


def test_patches_far_from_the_training_data_are_reported_as_flagged() -> None:
    narrow = TRAINING * np.float32([1, 1, 1, 1e-3, 1e-3, 1e-3])
    near = replace(VALIDATION, features=VALIDATION.features * np.float32([1, 1, 1, 0, 0, 0]))
    decided = decide(_section(), near, narrow)
    found = measured(decided, near, TEST, 100)
    assert found["novelty"]["flagged_on_test"]["rate"] > 0.9


def test_images_are_predicted_by_both_halves_in_a_row_and_calibrated() -> None:
    calibration = Calibration(method="temperature", temperature=2.0)
    predict = predictor_with(BRIGHTER, MEAN, calibration)
    patches = np.random.default_rng(1).integers(0, 255, (7, 4, 4, 3), np.uint8)
    scores = predict([patches[:4], patches[4:]])
    expected = calibration.apply((patches.mean(axis=(1, 2, 3)) + 0.5) / 255)
    assert scores == pytest.approx(expected, abs=1e-6)
    assert scores.dtype == np.float64


def test_rates_of_behaviour_have_names_that_a_metric_may_have() -> None:
    rows = [
        {"kind": "invariance", "test": "turned 90°", "rate": 0.9},
        {"kind": "invariance", "test": "brightness −10 %", "rate": 0.8},
        {"kind": "invariance", "test": "brightness +10 %", "rate": 0.7},
        {"kind": "a direction", "test": "crack × 2", "rate": 1.0},
    ]
    rates = rates_by_kind(rows)
    names = [name for tests in rates.values() for name in tests] + list(rates)
    assert all(re.fullmatch(r"[a-z0-9._]+", name) for name in names), names
    assert [list(tests.values()) for tests in rates.values()] == [[0.9, 0.8, 0.7], [1.0]]


def test_of_each_other_material_the_share_that_is_flagged_is_told() -> None:
    # What is known is grey concrete, by its mean colour alone.
    rng = np.random.default_rng(4)
    grey = (rng.normal(140, 12, (600, 1)) + rng.normal(0, 3, (600, 3))).astype(np.float32)
    colours = Computing(lambda batch: {"features": batch.mean(axis=(1, 2))})
    passing_on = Computing(lambda rows: {"score": rows[:, :1], "features": rows})
    known = fit_novelty(grey[:400], grey[400:], max_flagged=0.05)
    shares = flagged_surfaces(colours, passing_on, known, SIZE, each=5)
    assert list(shares) == list(MATERIALS)
    assert shares["foliage"] == 1
    assert all(share * 5 == round(share * 5) for share in shares.values())
    nothing_is_new = replace(known, limit=1e9)
    assert not any(flagged_surfaces(colours, passing_on, nothing_is_new, SIZE, each=2).values())


def test_one_thread_adds_up_while_the_block_runs_and_as_many_as_before_afterwards() -> None:
    with one_thread():
        pass  # every library is imported now
    before = [pool["num_threads"] for pool in threadpool_info()]
    with one_thread():
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    assert [pool["num_threads"] for pool in threadpool_info()] == before
