"""Tracing: what the prediction log has is shown; what it lacks breaks no chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cracks.inference.handover.prediction_id import PredictionId
from cracks.monitoring.prediction_log.locations import PLACE_VARIABLE
from cracks.monitoring.prediction_log.recorder import Recorder
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.registry.lineage.trace import _recorded, as_document
from tests.unit.registry.lineage.test_chain import PREDICTION, RUN, chain_of


def recorded(run_id: str = RUN.run_id, *, novel: bool = False) -> RecordedPrediction:
    return RecordedPrediction(
        prediction_id=str(PREDICTION),
        time=PREDICTION.time,
        kind="predict",
        image_sha256="aa" * 32,
        label="crack",
        score=0.98712,
        raw_score=0.97,
        threshold=0.5,
        model_version="3",
        run_id=run_id,
        milliseconds=12.5,
        novelty=1.25 if novel else 0.4,
        novel=novel,
    )


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(PLACE_VARIABLE, raising=False)
    recorder = Recorder(tmp_path / "answers")
    recorder.add(recorded())
    recorder.close()
    return tmp_path


def test_a_chain_begins_with_what_was_predicted() -> None:
    (link, *_) = chain_of(recorded=recorded()).links
    assert link.broken == ()
    assert link.says == (
        "made at 2026-11-21 16:14:22.000+00:00 by version 3; "
        "crack (predict), score 0.9871 with a threshold of 0.5000, novelty 0.40"
    )
    assert chain_of(recorded=recorded(novel=True)).links[0].says.endswith("novelty 1.25, novel")


def test_a_prediction_that_is_not_in_the_log_breaks_nothing() -> None:
    (link, *_) = chain_of(recorded=None).links
    assert link.broken == ()
    assert link.says.endswith("by version 3; not in the record")


def test_a_record_that_names_another_run_breaks_the_chain() -> None:
    (link, *_) = chain_of(recorded=recorded("f" * 32)).links
    assert link.broken == (f"the record names run {'f' * 32}, the version {RUN.run_id}",)


def test_the_record_of_the_service_folder_is_looked_into(service: Path) -> None:
    assert _recorded(PREDICTION, service) == recorded()
    other = PredictionId("3", "b" * 12, "cc" * 8, PREDICTION.time)
    assert _recorded(other, service) is None
    assert _recorded(PREDICTION, service / "elsewhere") is None


def test_another_place_of_the_record_is_taken_from_the_environment(
    service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE_VARIABLE, str(service / "answers"))
    assert _recorded(PREDICTION, tmp_path / "elsewhere") == recorded()


def test_a_record_that_cannot_be_read_is_told_of_and_breaks_nothing(
    service: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(PLACE_VARIABLE, "s3://NoBucket/answers")
    assert _recorded(PREDICTION, service) is None
    assert "cannot be read" in caplog.text


def test_in_json_the_prediction_has_all_that_a_list_shows() -> None:
    document = json.loads(json.dumps(as_document(str(PREDICTION), chain_of(recorded=recorded()))))
    assert document["recorded"]["score"] == 0.98712
    assert document["recorded"]["time"] == "2026-11-21T16:14:22.000+00:00"
    assert "image" not in document["recorded"]
    assert as_document("v3", chain_of(recorded=None))["recorded"] is None
