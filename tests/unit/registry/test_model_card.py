"""The model card of a version: what a person must know who decides about it, and where to look."""

from __future__ import annotations

from typing import Any

import pytest

from cracks.registry.model_card import (
    LONGEST_DESCRIPTION,
    SLICES_SHOWN,
    comparison_table,
    describe_version,
    metrics_table,
    reliability,
    slices_table,
)
from tests.unit.flows.test_stage_summaries import EVALUATION
from tests.unit.registry.test_gate import ALIKE, HIGHER, SECTION, SOUND, SPLIT, judged, recall

TAGS = {
    "run.id": "r" * 32,
    "git.commit": "c" * 40,
    "dvc.lock.sha256": "d" * 64,
    "data.digest": "e" * 36,
    "bundle.digest": "b" * 64,
}
REPORTS: dict[str, Any] = {
    "evaluate": EVALUATION,
    "split": SPLIT,
    "ingest": {"distinct_patches": 38402, "source": "photos.zip"},
}
SLICES = [
    {
        "slice": f"brightness {i}–{i + 1}",
        "patches": "982",
        "accuracy": str(0.99 - i / 100),
        "accuracy_low": "0.9",
        "accuracy_high": "1.0",
        "crack_recall": "" if i else "0.5",
    }
    for i in range(9)
]
COMPARED = judged(SOUND, [HIGHER, recall(ALIKE)], SECTION)


def card(**changes: Any) -> str:
    given = {"reports": REPORTS, "slices": SLICES, "decision": COMPARED, "tags": TAGS} | changes
    return describe_version(**given)


def test_a_version_says_what_it_is_for_and_why_it_was_registered() -> None:
    text = card()
    assert "Verdict **better**: accuracy 0.9950 against the champion's 0.9900" in text
    assert "38,402 distinct patches from `photos.zip`" in text
    assert "threshold 0.4321" in text
    assert "**Not for** surfaces unlike" in text


def test_a_version_shows_its_numbers() -> None:
    text = card()
    assert metrics_table(EVALUATION) in text
    assert reliability(EVALUATION) in text
    assert "| recall | 0.9900 | 0.9900 | +0.0000 | -0.0010 to +0.0010 | 4, 4 of 3,000 |" in text
    assert "| evaluate.test.accuracy | 0.95 | 0.9 |  |" in text


def test_a_version_says_what_its_intervals_count() -> None:
    assert "Intervals and gate count photographs. Photographs are known of 100%" in card()
    unknown = {"counted": "patches", "photographs_known": 0.2}
    assert (
        "Intervals and gate count patches: photographs are known of 20% of the patches. They claim "
        "more than the data shows"
    ) in card(reports=REPORTS | {"split": unknown})


def test_the_worst_slices_come_first() -> None:
    rows = slices_table(SLICES).splitlines()[2:]
    assert len(rows) == SLICES_SHOWN
    assert rows[0] == "| brightness 8–9 | 982 | 0.9100 | 0.9000 to 1.0000 |  |"


def test_a_version_leads_to_its_code_data_and_pictures() -> None:
    text = card()
    for name in ("c" * 12, "d" * 12, "e" * 12, "b" * 12, "r" * 32):
        assert name in text
    assert f"(get-artifact?path=figures/evaluate/confusion.png&run_uuid={'r' * 32})" in text


def test_the_first_version_says_that_there_was_none_to_compare_it_with() -> None:
    first = judged(SOUND, None, SECTION)
    assert comparison_table(first) == "There was no champion to compare it with."
    assert "Verdict **first**: it is the first model." in card(decision=first)


def test_a_card_fits_into_what_mlflow_keeps() -> None:
    many = [row | {"slice": "x" * 2000} for row in SLICES]
    assert len(card(slices=many)) == LONGEST_DESCRIPTION
    assert len(card()) < LONGEST_DESCRIPTION - 500


@pytest.mark.parametrize("text", ["a|b", "plain"])
def test_a_slice_of_any_name_is_one_cell(text: str) -> None:
    row = slices_table([SLICES[0] | {"slice": text}]).splitlines()[-1]
    assert row.replace("\\|", "").count("|") == 6
