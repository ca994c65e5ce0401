"""Parity: how far the scores of two runtimes may differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cracks.errors import BundleError
from cracks.inference.bundle.calibration import Calibration
from cracks.inference.bundle.parity import parity, require_parity
from cracks.workspace.params import ExportParams

LIMITS = ExportParams(
    formats=["openvino"], compared_patches=10, max_score_difference=0.001, max_flipped_share=0.01
)


def _found(difference: float = 0.0, flipped: int = 0, compared: int = 100) -> dict[str, Any]:
    return {
        "compared": compared,
        "largest_score_difference": difference,
        "mean_score_difference": difference / 2,
        "flipped_labels": flipped,
    }


def test_equal_scores_give_no_difference() -> None:
    scores = np.array([0.1, 0.5, 0.9])
    assert parity(scores, scores, Calibration(), 0.5) == _found(compared=3)


def test_differences_and_flipped_labels_are_those_of_calibrated_scores() -> None:
    given_scores, expected = np.array([0.5, 0.9, 0.2]), np.array([0.5, 0.8, 0.2])
    calibration = Calibration(method="temperature", temperature=2.0)
    # At twice the temperature 0.9 is 0.75, and 0.8 is 2/3.
    found = parity(given_scores, expected, calibration, 0.7)
    assert found["compared"] == 3
    assert found["largest_score_difference"] == pytest.approx(0.75 - 2 / 3, abs=1e-9)
    assert found["mean_score_difference"] == pytest.approx((0.75 - 2 / 3) / 3, abs=1e-9)
    assert found["flipped_labels"] == 1
    # Of the raw scores both are above the threshold.
    assert parity(given_scores, expected, Calibration(), 0.7)["flipped_labels"] == 0


def test_a_score_at_the_threshold_means_crack_in_both() -> None:
    found = parity(np.array([0.5]), np.array([0.5 - 1e-9]), Calibration(), 0.5)
    assert found["flipped_labels"] == 1


def test_in_f32_scores_must_agree_up_to_the_limit() -> None:
    require_parity("openvino", _found(0.001), LIMITS, "f32")
    with pytest.raises(BundleError, match=r"export: openvino .*by up to 0\.0011; .*allows 0\.001"):
        require_parity("openvino", _found(0.0011), LIMITS, "f32")


def test_in_f32_a_label_may_flip_where_the_scores_agree() -> None:
    limits = LIMITS.model_copy(update={"max_flipped_share": 0.0})
    # Two scores on both sides of the threshold, less than the limit apart, are no other scores.
    require_parity("openvino", _found(0.0005, flipped=1), limits, "f32")


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_in_other_precisions_scores_may_differ_and_few_labels_may(precision: str) -> None:
    require_parity("openvino", _found(0.2, flipped=1), LIMITS, precision)
    with pytest.raises(
        BundleError, match=rf"in {precision} openvino gives 2 of 100 .*featurize\.precision=f32"
    ):
        require_parity("openvino", _found(0.2, flipped=2), LIMITS, precision)


def test_a_refusal_is_one_line() -> None:
    for precision in ("f32", "int8"):
        with pytest.raises(BundleError) as refusal:
            require_parity("litert", _found(0.5, flipped=50), LIMITS, precision)
        assert "\n" not in str(refusal.value)
        assert "litert" in str(refusal.value)
