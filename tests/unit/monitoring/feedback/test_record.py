"""Feedback: kept once, for predictions that were made, never changed; and what is made of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cracks.errors import FeedbackError, TrackingError
from cracks.monitoring.feedback import record as feedback_module
from cracks.monitoring.feedback.csv_import import take_file
from cracks.monitoring.feedback.live_accuracy import measure_live
from cracks.monitoring.feedback.record import Entry, Feedback, FeedbackRecord, counting
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from tests.unit.monitored import HOUR, NOON, predictions_in, put_in_service, record, watched

Predictions = dict[str, RecordedPrediction]

UNKNOWN = "v1-000000000000-0123456789abcdef-20261121T120000000Z"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def predictions() -> Predictions:
    return {one.prediction_id: one for one in predictions_in(NOON, 20, seed=5)}


class Clock(datetime):
    """A clock that somebody sets."""

    time = NOON

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # noqa: ARG003
        return cls.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """The clock that labels are received by."""
    monkeypatch.setattr(feedback_module, "datetime", Clock)
    return Clock


def say(name: str, label: str, by: str = "ann") -> Feedback:
    return Feedback(name, label, by)


def other_than(prediction: RecordedPrediction) -> str:
    return "crack" if prediction.label == "no crack" else "no crack"


# --- what is kept ---------------------------------------------------------------------------------


def test_the_same_label_twice_is_kept_once(place: Path, predictions: Predictions) -> None:
    name = next(iter(predictions))
    for expected in ("recorded", "known"):
        (taken,) = FeedbackRecord(place).take([say(name, "crack")], predictions.get)
        assert taken.status == expected
    both = FeedbackRecord(place).take(
        [say(name, " Crack "), say(name, "crack", "bob")], predictions.get
    )
    assert [one.status for one in both] == ["known", "known"]
    assert len(list(place.rglob("*.jsonl"))) == 1


def test_a_corrected_label_counts_and_the_first_one_stays(
    place: Path, predictions: Predictions
) -> None:
    name = next(iter(predictions))
    said = [say(name, "crack"), say(name, "no crack"), say(name, "crack")]
    taken = FeedbackRecord(place).take(said, predictions.get)
    assert [one.status for one in taken] == ["recorded", "corrected", "corrected"]
    (kept,) = FeedbackRecord(place).everything()
    assert (kept.label, kept.number) == ("crack", 3)
    assert sum(len(file.read_text().splitlines()) for file in place.rglob("*.jsonl")) == 3


def test_numbers_and_not_clocks_say_which_label_counts(
    place: Path, predictions: Predictions, clock: type[Clock]
) -> None:
    name = next(iter(predictions))
    for label, clock.time in (("crack", NOON + HOUR), ("no crack", NOON - HOUR)):
        FeedbackRecord(place).take([say(name, label)], predictions.get)
    (kept,) = FeedbackRecord(place).everything()
    assert (kept.label, kept.received) == ("no crack", NOON - HOUR)
    assert kept.received < kept.answered_at


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (say(UNKNOWN, "crack"), f"{UNKNOWN} is not in the record of predictions"),
        (say("v1", "crack"), "'v1' is no prediction id"),
        (say("", "crack"), "'' is no prediction id"),
        (say("KNOWN", "fissure"), "'fissure' is no label: write `no crack` or `crack`"),
        (say("KNOWN", ""), "'' is no label"),
        (say("KNOWN", "crack", " "), "Say who gives the label"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_of_it_is_kept(
    place: Path, predictions: Predictions, said: Feedback, why: str
) -> None:
    names = list(predictions)
    known = Feedback(said.prediction_id.replace("KNOWN", names[0]), said.label, said.by)
    with pytest.raises((FeedbackError, TrackingError)) as refusal:
        FeedbackRecord(place).take([say(names[1], "crack"), known], predictions.get)
    assert why in str(refusal.value)
    assert FeedbackRecord(place).everything() == []


def test_a_file_cut_short_loses_its_last_line_only(place: Path, predictions: Predictions) -> None:
    names = sorted(predictions)[:3]
    FeedbackRecord(place).take([say(name, "crack") for name in names], predictions.get)
    (file,) = place.rglob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-30])
    assert [one.prediction_id for one in FeedbackRecord(place).everything()] == names[:2]


def test_two_processes_at_once_lose_nothing(place: Path, predictions: Predictions) -> None:
    one, other = FeedbackRecord(place), FeedbackRecord(place)
    first, second = list(predictions)[:2]
    one.everything(), other.everything()
    one.take([say(first, "crack")], predictions.get)
    (known,) = other.take([say(first, "crack")], predictions.get)
    other.take([say(second, "crack")], predictions.get)
    assert known.status == "known"
    assert len(one.everything()) == len(other.everything()) == 2


# --- files ----------------------------------------------------------------------------------------


def test_of_a_file_the_sound_lines_are_kept_and_the_others_named(tmp_path: Path) -> None:
    service = tmp_path / "service"
    given = predictions_in(NOON, 5)
    record(service, given)
    names = [one.prediction_id for one in given]
    file = tmp_path / "checked.csv"
    file.write_text(
        "﻿prediction_id,label,by\n"
        f"{names[0]},crack,ann\n{names[1]},fissure,ann\n{UNKNOWN},crack,ann\n"
        f"{names[2]},NO CRACK,\n{names[0]},crack,bob\nnothing,crack,ann\n"
        f"{names[3]},crack,{'x' * 101}\n",
        encoding="utf-8",
    )
    done = take_file(service, file, by="eve")
    assert dict(done.counts) == {"recorded": 2, "known": 1}
    assert [one["line"] for one in done.refused] == [3, 4, 7, 8]
    again = take_file(service, file, by="eve")
    assert dict(again.counts) == {"known": 3}
    kept = FeedbackRecord.beside(service).everything()
    assert {one.by for one in kept} == {"ann", "eve"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"id,label\n1,crack\n", "has no column prediction_id"),
        (b"", "has no column prediction_id and no label"),
        (b"prediction_id,label\n\xff\xfe,crack\n", "is no UTF-8"),
    ],
)
def test_what_is_no_file_of_labels_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "checked.csv"
    file.write_bytes(content)
    with pytest.raises(FeedbackError, match=why):
        take_file(tmp_path / "service", file)


# --- live accuracy --------------------------------------------------------------------------------


def entries_of(predictions: Predictions, place: Path, wrong: int) -> list[Entry]:
    said = [
        say(name, other_than(one) if number < wrong else one.label)
        for number, (name, one) in enumerate(predictions.items())
    ]
    FeedbackRecord(place).take(said, predictions.get)
    return FeedbackRecord(place).everything()


def test_live_accuracy_counts_right_predictions_and_says_how_sure_it_is(
    place: Path, predictions: Predictions
) -> None:
    live = measure_live(entries_of(predictions, place, 4), NOON)
    assert live.labelled == 20
    assert live.accuracy.rate == pytest.approx(0.8)
    assert live.accuracy.low is not None
    assert live.accuracy.high is not None
    assert live.accuracy.low < 0.7 < 0.9 < live.accuracy.high
    assert live.crack_recall.count + live.false_alarms.count == 20
    assert live.by_version == {"1": live.accuracy}
    assert sum(one.answers for one in live.calibration) == 20


def test_one_image_asked_about_often_is_one_piece_of_evidence(place: Path) -> None:
    same = {one.prediction_id: one for one in predictions_in(NOON, 20, image_sha256="0" * 64)}
    live = measure_live(entries_of(same, place, 0), NOON)
    assert (live.accuracy.rate, live.accuracy.low) == (1.0, 0.0)


def test_nobody_said_anything() -> None:
    live = measure_live([], NOON)
    assert (live.labelled, live.accuracy.rate, live.calibration) == (0, None, ())
    assert counting([]) == []


def test_many_wrong_predictions_start_a_training(tmp_path: Path, clock: type[Clock]) -> None:
    service = tmp_path / "service"
    put_in_service(service)
    feedback, found = FeedbackRecord.beside(service), []
    for number in range(3):
        given = {one.prediction_id: one for one in predictions_in(NOON + number * HOUR)}
        record(service, list(given.values()))
        clock.time = NOON + number * HOUR + timedelta(minutes=5)
        said = [say(name, other_than(one)) for name, one in list(given.items())[:20]]
        feedback.take(said, given.get)
        found += watched(service, NOON + (number + 1) * HOUR + timedelta(minutes=6))
    assert found[1].fired == ("accuracy",)
    assert found[1].asked_for_training
    assert "20 of 20 predictions were found wrong" in found[1].reason
