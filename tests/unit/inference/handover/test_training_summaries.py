"""What is handed over of a training, and the page that tells its story."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cracks.errors import ServiceError
from cracks.inference.handover.training_summaries import (
    FILE,
    TrainingRun,
    data_seen,
    estimates_on_test,
    outcome_of,
    read_runs,
    record_run,
)
from cracks.workspace.paths import Paths
from flows.training_page import WIDEST, as_address, pictures_of, story
from tests.unit.flows.test_stage_summaries import EVALUATION

REPORTS: dict[str, dict[str, Any]] = {
    "ingest": {
        "source": "a|b.zip",
        "patches": 1200,
        "distinct_patches": 1100,
        "quarantined": 2,
        "labels": {"no crack": 700, "crack": 500},
        "photos": {"photographs": 70, "sites": 3, "photographs_known": 0.91},
    },
    "split": {
        "counts": {"train": {"crack": 350, "no crack": 420}, "test": {"crack": 75}},
        "counted": "patches",
        "photographs_known": 0.91,
        "leakage": {"this_split": {"same_picture_in_train": 0.0, "same_photograph_in_train": None}},
    },
    "validate": {
        "expectations": [
            {"name": "schema", "severity": "critical", "success": True, "observed": "as it is"},
            {
                "name": "not blank",
                "severity": "warning",
                "success": False,
                "observed": "3 of 1100",
                "advice": "Take them out.",
            },
        ],
        "drift": {"brightness": 0.12, "crack_share": 0.01},
    },
    "evaluate": EVALUATION,
}

RESULT: dict[str, Any] = {
    "verdict": "better",
    "action": "promote",
    "reasons": ["crack recall is higher by 0.0021"],
    "run_id": "5c0b",
    "version": "3",
    "comparison": [],
    "limits": [],
    "promoted": True,
}


def run(number: int = 0, **others: Any) -> TrainingRun:
    content: dict[str, Any] = {
        "flow_run_id": f"run-{number}",
        "name": "able-otter",
        "started": "2026-11-21T03:00:00+00:00",
        "ended": f"2026-11-21T03:{number // 60:02d}:{number % 60:02d}+00:00",
        "outcome": "promoted",
    }
    return TrainingRun.model_validate(content | others)


# --- the summaries --------------------------------------------------------------------------------


def test_before_the_first_training_there_is_none(tmp_path: Path) -> None:
    assert read_runs(tmp_path) == []


def test_the_newest_comes_first_and_the_oldest_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cracks.inference.handover.training_summaries.TOLD", 3)
    for number in (1, 2, 3, 4, 0):
        record_run(tmp_path, run(number))
    assert [one.flow_run_id for one in read_runs(tmp_path)] == ["run-4", "run-3", "run-2"]


def test_a_run_that_is_told_of_again_takes_its_own_place(tmp_path: Path) -> None:
    record_run(tmp_path, run(1, outcome="waiting"))
    record_run(tmp_path, run(1, outcome="promoted"))
    assert [one.outcome for one in read_runs(tmp_path)] == ["promoted"]


def test_several_workspaces_may_tell_at_once(tmp_path: Path) -> None:
    telling = [threading.Thread(target=record_run, args=(tmp_path, run(n))) for n in range(12)]
    for one in telling:
        one.start()
    for one in telling:
        one.join()
    assert len(read_runs(tmp_path)) == 12


@pytest.mark.parametrize("content", ["[{", "{}", '[{"name": 3}]'])
def test_a_damaged_file_is_said_and_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ServiceError, match=r"is damaged \(.*The next training rewrites it"):
        read_runs(tmp_path)
    record_run(tmp_path, run())
    assert len(read_runs(tmp_path)) == 1


def test_what_the_reports_say_is_told_as_far_as_the_run_came() -> None:
    assert data_seen({}) is None
    assert estimates_on_test({}, ["accuracy"]) == {}
    seen = data_seen({"ingest": REPORTS["ingest"]})
    assert seen is not None
    assert (seen.distinct_patches, seen.expectations, seen.broken) == (1100, None, [])
    seen = data_seen(REPORTS)
    assert seen is not None
    assert (seen.expectations, seen.broken) == (2, ["not blank"])
    assert seen.drift["brightness"] == 0.12
    accuracy = estimates_on_test(REPORTS, ["accuracy"])["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == (0.7, 0.6, 0.8)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "promoted"),
        ({"verdict": "unchanged"}, "unchanged"),
        ({"promoted": False, "action": "ask"}, "waiting"),
        ({"promoted": False, "action": "register"}, "registered"),
        ({"promoted": False, "action": "refuse"}, "refused"),
    ],
)
def test_an_outcome_is_one_word(change: dict[str, Any], outcome: str) -> None:
    assert outcome_of(RESULT | change) == outcome
    assert outcome_of(None) == "failed"


# --- the page -------------------------------------------------------------------------------------


def test_the_story_of_a_run_tells_everything_in_order() -> None:
    pictures = {"predictions": [("mistakes", "data:image/jpeg;base64,AA==")]}
    told = run(version="3", reasons=RESULT["reasons"], verdict="better", why="new photographs")
    text = story(told, REPORTS, RESULT, pictures)
    wanted = [
        "# Version 3 is in service now",
        "- crack recall is higher by 0.0021",
        "| Started for | new photographs |",
        "## Data",
        r"`a\|b.zip`",
        "1,200 (700 no crack, 500 crack)",
        "| Photographs | 70 at 3 sites, known of 91% of the patches |",
        "| Test with a copy in train | 0.0% |",
        "| Test with its photograph in train | unknown |",
        "## Validation",
        "1 of 2 expectations hold.",
        "| not blank | warning | 3 of 1100. Take them out. |",
        "brightness 0.120",
        "## Metrics",
        "| accuracy |",
        "Intervals and gate count patches: photographs are known of 91% of the patches.",
        "![mistakes](data:image/jpeg;base64,AA==)",
        "## Against the champion",
        "There was no champion to compare it with.",
    ]
    places = [text.find(one) for one in wanted]
    assert -1 not in places, wanted[places.index(-1)]
    assert places == sorted(places)


def test_a_run_that_failed_tells_why_and_what_was_done_before() -> None:
    told = run(outcome="failed", reasons=["train: no memory."], stages={"ingest": "ran"})
    text = story(told, {"ingest": REPORTS["ingest"]}, None, {})
    assert text.startswith("# The run failed\n\n- train: no memory.")
    assert "## Data" in text
    assert "## Metrics" not in text
    assert "champion" not in text


def test_pictures_are_made_small_and_those_of_other_stages_left_out(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for stage, name in (("evaluate", "confusion"), ("train", "learning_curves")):
        paths.figures(stage).mkdir(parents=True)
        Image.new("RGBA", (3000, 1000), "red").save(paths.figures(stage) / f"{name}.png")
    found = pictures_of(paths, ["ingest", "evaluate"])
    assert {chapter: [title for title, _ in ones] for chapter, ones in found.items()} == {
        "data": [],
        "training": [],
        "predictions": ["confusion"],
    }
    address = as_address(paths.figures("evaluate") / "confusion.png")
    assert address.startswith("data:image/jpeg;base64,")
    assert len(address) < WIDEST * 100
