"""What people read: one line a stage, the metrics as a table, and what may be believed."""

from __future__ import annotations

from typing import Any

import pytest

from cracks.registry.model_card import SHOWN, metrics_table, reliability
from cracks.workspace.paths import STAGES
from flows.stage_summaries import SUMMARIES, summarise

EVALUATION: dict[str, Any] = {
    "threshold": 0.4321,
    "validation": {name: 0.5 + i / 100 for i, name in enumerate(SHOWN)},
    "test": {
        **{name: 0.7 + i / 100 for i, name in enumerate(SHOWN)},
        "intervals": {
            name: {"low": 0.6 + i / 100, "high": 0.8 + i / 100} for i, name in enumerate(SHOWN)
        },
        "worst_case_intervals": {name: {"low": 0.5, "high": 0.9} for name in SHOWN},
    },
    "calibration": {"method": "isotonic", "before": {"ece": 0.1234}, "after": {"ece": 0.0123}},
    "novelty": {"limit": 1.5, "flagged_on_test": {"rate": 0.0125}},
    "drawn_surfaces_flagged": {"brick": 1.0, "asphalt": 0.9},
    "label_errors": {"examined": 600, "how": "held out", "found": 0},
    "sites_left_out": {"sites": 0, "not_measured": {}},
}

REPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "ingest": (
        {
            "patches": 40000,
            "quarantined": 1,
            "photos": {"photographs": 513, "photographs_known": 0.366, "sites": 1},
        },
        "40,000 patches of 513 known photographs (37% of the patches) at 1 site, 1 files in "
        "quarantine",
    ),
    "split": (
        {
            "counts": {
                "train": {"crack": 600, "no crack": 900},
                "test": {"crack": 3, "no crack": 4},
            },
            "leakage": {
                "this_split": {"same_photograph_in_train": None},
                "random_split": {"same_photograph_in_train": 0.50183},
            },
        },
        "1,500 train, 7 test; an unknown share of test have their photograph in train (random "
        "split: 50.2%)",
    ),
    "validate": (
        {
            "expectations": [
                {"name": "schema", "success": True},
                {"name": "not blank", "success": False},
                {"name": "not saturated", "success": False},
            ]
        },
        "1 of 3 expectations hold; warning: not blank, not saturated",
    ),
    "featurize": (
        {
            "patches": 1000,
            "architecture": "cnn",
            "mode": "scratch",
            "feature_shape": [112, 112, 3],
        },
        "1,000 patches, 112×112×3 each (cnn, scratch)",
    ),
    "train": (
        {"epochs": 14, "best_epoch": 9, "best": {"val_loss": 0.12345}},
        "best of 14 epochs is 9, validation loss 0.1235",
    ),
    "evaluate": (
        EVALUATION,
        "test accuracy 0.7000 (0.6000–0.8000), crack recall 0.7200 (0.6200–0.8200), "
        "threshold 0.432",
    ),
    "export": (
        {
            "bundle_digest": "0123456789abcdef",
            "sizes": {"model.xml": 100_000, "model.bin": 2_400_000},
            "single_image": {"openvino": {"median_ms": 7.04}, "keras": {"median_ms": 90.0}},
            "parity": {
                "openvino": {"largest_score_difference": 2e-6},
                "evaluation": {"largest_score_difference": 0.0},
            },
        },
        "bundle 0123456789ab, 2.5 MB, 7.0 ms an image, scores within 2e-06 of Keras",
    ),
}


def test_every_stage_has_its_line() -> None:
    assert tuple(SUMMARIES) == tuple(REPORTS) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_summed_up_in_one_line(stage: str) -> None:
    report, line = REPORTS[stage]
    assert summarise(stage, report) == line


def test_nothing_is_warned_of_where_every_expectation_holds() -> None:
    report = {"expectations": [{"name": "schema", "success": True}]}
    assert summarise("validate", report) == "1 of 1 expectations hold"
    delivery = {"patches": 1920, "photographs": 12, "sites": {"bridge 7": 1900, "pier": 20}}
    assert summarise("validate", report | {"delivery": delivery}) == (
        "1 of 1 expectations hold; new: 1,920 patches of 12 photographs at bridge 7, pier"
    )


@pytest.mark.parametrize(
    ("found", "warning"), [(1, ", 1 likely label error"), (3, ", 3 likely label errors")]
)
def test_likely_label_errors_are_warned_of(found: int, warning: str) -> None:
    report = EVALUATION | {"label_errors": {"examined": 600, "how": "held out", "found": found}}
    assert summarise("evaluate", report) == summarise("evaluate", EVALUATION) + warning


def test_the_site_that_the_others_teach_least_about_is_told_of() -> None:
    left_out = {"sites": 3, "not_measured": {}, "lowest_crack_recall": 0.625}
    said = summarise("evaluate", EVALUATION | {"sites_left_out": left_out})
    assert said.endswith("each of 3 sites by what the others teach: crack recall at least 0.6250")


def test_the_table_of_metrics_has_a_row_a_metric() -> None:
    rows = [line.strip("| ").split(" | ") for line in metrics_table(EVALUATION).splitlines()]
    columns = ["metric", "validation", "test", "95 % interval", "if photographs fail as a whole"]
    assert rows[0] == columns
    assert [row[0] for row in rows[2:]] == list(SHOWN)
    assert rows[2] == ["accuracy", "0.5000", "0.7000", "0.6000 to 0.8000", "0.5000 to 0.9000"]


def test_what_may_be_believed_is_said_in_words() -> None:
    assert reliability(EVALUATION) == (
        "Calibration (isotonic): expected calibration error 0.1234 before, 0.0123 after. "
        "Of test patches 1.25% are flagged as unlike the training data; "
        "of drawn pictures of other materials: brick 100%, asphalt 90%."
    )
