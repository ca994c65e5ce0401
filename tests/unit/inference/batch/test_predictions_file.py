"""Predictions on disk: never those of two models or processes, and over nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cracks.errors import WorkspaceBusy, WorkspaceError
from cracks.inference.batch.predictions_file import PredictionsFile
from cracks.inference.batch.scoring import ScoredChunk
from tests.unit.builders import champion_of, tree

OUTS = ["answers", "answers.parquet"]

ROW: dict[str, Any] = {
    "file": "a.jpg",
    "label": "crack",
    "score": 0.9,
    "threshold": 0.5,
    "novelty": None,
    "novel": None,
    "model_version": "1",
    "run_id": "run-1",
    "prediction_id": "v1",
    "image_sha256": "0" * 64,
    "stamp": "1",
}


def _refused(place: Path, version: str = "1") -> str:
    """Return why a version cannot write its predictions to a place, which stays as it is."""
    before = tree(place.parent)
    predictions = PredictionsFile(place, champion_of(version, version * 64))
    with pytest.raises(WorkspaceError) as refusal, predictions.opened():
        pytest.fail("it was opened")
    after = tree(place.parent)
    assert {name: after[name] for name in before} == before
    return str(refusal.value)


@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("finished", [True, False])
def test_predictions_of_another_model_are_not_mixed_in(
    tmp_path: Path, out: str, finished: bool
) -> None:
    with PredictionsFile(tmp_path / out, champion_of("1", "1" * 64)).opened() as predictions:
        predictions.add(ScoredChunk([ROW], []))
        if finished:
            predictions.finish()
    told = _refused(tmp_path / out, version="2")
    assert told.startswith(f"{tmp_path / out} holds predictions of version 1 (bundle {'1' * 12})")
    assert "version 2 (bundle 222222222222) is in service now" in told


@pytest.mark.parametrize("place", ["data.parquet", "data"])
def test_a_table_of_something_else_is_left_alone(tmp_path: Path, place: str) -> None:
    table = tmp_path / place
    if not table.suffix:
        table.mkdir()
        table /= "part-00000.parquet"
    pq.write_table(pa.table({"a": [1]}), table)
    assert "does not hold predictions of `cracks predict`" in _refused(tmp_path / place)


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    assert "notes is a file. Give --out a folder" in _refused(tmp_path / "notes")
    (tmp_path / "notes.parquet").mkdir()
    assert "notes.parquet is a folder" in _refused(tmp_path / "notes.parquet")


@pytest.mark.parametrize("out", OUTS)
def test_two_processes_do_not_write_to_one_place_at_once(tmp_path: Path, out: str) -> None:
    first, second = (PredictionsFile(tmp_path / out, champion_of("1")) for _ in range(2))
    with (
        first.opened(),
        pytest.raises(WorkspaceBusy, match="Another process writes predictions to"),
        second.opened(),
    ):
        pytest.fail("it was opened")
