"""Feedback: what people say was really on a predicted image, kept beside the predictions.

    answers/feedback/2026-11-21/20261121T171500123Z-qkzmwe.jsonl   labels that came in one request,
                                                                   of predictions of that day

Nothing is ever changed or removed: a label that is corrected is a further entry with the next
number. Numbers and not times say which one counts, since clocks differ. The same label a second
time adds nothing. An entry repeats what was predicted, so it can be read when the prediction itself
has made room for newer ones.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cracks.dataset.labels import LABELS
from cracks.errors import FeedbackError
from cracks.inference.handover.prediction_id import parse_prediction_id, shown
from cracks.monitoring.prediction_log.locations import place_beside_predictions
from cracks.monitoring.prediction_log.part_files import word_of_chance, written_time
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.storage.object_store import open_store

logger = logging.getLogger(__name__)

FOLDER = "feedback"

#: Characters of who said it, and of a remark.
LONGEST_NAME, LONGEST_NOTE = 100, 1000

#: Returns the recorded prediction of an id, or None.
Find = Callable[[str], RecordedPrediction | None]


@dataclass(frozen=True)
class Feedback:
    """What somebody says."""

    prediction_id: str
    label: str
    by: str
    note: str = ""


class Entry(BaseModel):
    """What is kept of it."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    prediction_id: str
    label: str  # the true one
    by: str
    note: str = ""
    number: int  # 1 for the first label of this prediction; the highest one counts
    received: datetime  # UTC, by the clock of whoever wrote it
    answered_at: datetime
    kind: str
    answered: str  # the label that was given
    score: float
    threshold: float
    model_version: str
    image_sha256: str

    @property
    def agrees(self) -> bool:
        """Whether the prediction was right."""
        return self.label == self.answered


@dataclass(frozen=True)
class Taken:
    """What became of a feedback."""

    status: Literal["recorded", "known", "corrected"]
    entry: Entry


def checked_label(text: str) -> str:
    """Return the label that a text names.

    Raises:
        FeedbackError: it is none.
    """
    label = " ".join(text.strip().lower().replace("_", " ").split())
    if label not in LABELS:
        names = " or ".join(f"`{one}`" for one in LABELS)
        raise FeedbackError(f"{shown(text)} is no label: write {names}.")
    return label


def labelled_prediction(given: Feedback, find: Find) -> RecordedPrediction:
    """Return the prediction that a feedback is for.

    Raises:
        FeedbackError: it is not in the record, the label is none, or nobody says so.
        TrackingError: it has no prediction id.
    """
    parse_prediction_id(given.prediction_id)
    checked_label(given.label)
    if not given.by.strip() or len(given.by) > LONGEST_NAME or len(given.note) > LONGEST_NOTE:
        raise FeedbackError(
            f"Say who gives the label of {shown(given.prediction_id)}, in at most {LONGEST_NAME} "
            f"characters; a note has at most {LONGEST_NOTE}."
        )
    prediction = find(given.prediction_id)
    if prediction is None:
        raise FeedbackError(
            f"{given.prediction_id} is not in the record of predictions. One that was just made is "
            "there some seconds later; the oldest ones make room for new ones."
        )
    return prediction


class FeedbackRecord:
    """The feedback at a place; may be used by several threads."""

    def __init__(self, place: str | Path) -> None:
        """Read nothing yet.

        Args:
            place: a folder, or `s3://bucket/prefix`.

        Raises:
            StorageError: the address of the bucket is none, or boto3 is not installed.
        """
        self._files = open_store(place)
        self._lock = threading.Lock()
        self._read: dict[str, list[Entry]] = {}

    @classmethod
    def beside(cls, service: Path) -> FeedbackRecord:
        """Return the feedback on the predictions of a service."""
        return cls(place_beside_predictions(service, FOLDER))

    def take(self, given: Sequence[Feedback], find: Find) -> list[Taken]:
        """Keep what was said, all or nothing, and return what became of each.

        Args:
            given: in the order in which it was said.
            find: returns the predictions.

        Raises:
            FeedbackError: one of them is for no prediction of the record, or has no label.
            TrackingError: one of them has no prediction id.
            OSError, StorageError: the record cannot be read or written.
        """
        predictions = [labelled_prediction(one, find) for one in given]
        with self._lock:
            taken: list[Taken] = []
            new: dict[str, list[Entry]] = defaultdict(list)
            said: dict[str, Entry] = {}
            for day in sorted({_day_of(one.prediction_id) for one in given}):
                said |= {one.prediction_id: one for one in counting(self._of_day(day))}
            for one, prediction in zip(given, predictions, strict=True):
                found = _taken(one, prediction, said.get(one.prediction_id))
                if found.status != "known":
                    said[one.prediction_id] = found.entry
                    new[_day_of(one.prediction_id)].append(found.entry)
                taken.append(found)
            for day, entries in new.items():
                self._write(day, entries)
            return taken

    def everything(self) -> list[Entry]:
        """Return the entry that counts of every prediction, by prediction id.

        Raises:
            OSError, StorageError: the record cannot be read.
        """
        with self._lock:
            self._update("")
            return counting(entry for entries in self._read.values() for entry in entries)

    def _of_day(self, day: str) -> list[Entry]:
        self._update(day)
        return [
            entry
            for name, entries in self._read.items()
            if name.startswith(f"{day}/")
            for entry in entries
        ]

    def _update(self, day: str) -> None:
        """Read the files that came since the last read; none ever changes."""
        for name in self._files.keys(f"{day}/" if day else ""):
            if name.endswith(".jsonl") and name not in self._read:
                self._read[name] = self._entries(name)

    def _entries(self, name: str) -> list[Entry]:
        entries = []
        for number, line in enumerate(self._files.read(name).splitlines(), 1):
            try:
                entries.append(Entry.model_validate_json(line))
            except ValidationError as error:
                reason = error.errors(include_url=False)[0]["msg"]
                logger.warning("feedback %s, line %d is passed over: %s", name, number, reason)
        return entries

    def _write(self, day: str, entries: list[Entry]) -> None:
        name = f"{day}/{written_time(datetime.now(UTC))}-{word_of_chance()}.jsonl"
        lines = "".join(f"{entry.model_dump_json()}\n" for entry in entries)
        self._files.write(name, lines.encode())
        self._read[name] = entries


def counting(entries: Iterable[Entry]) -> list[Entry]:
    """Return the newest entry of each prediction, the one with the highest number, by id."""
    newest: dict[str, Entry] = {}
    for entry in entries:
        other = newest.get(entry.prediction_id)
        # Two processes may have given the same number: any order will do, if it is always the same.
        if other is None or _rank(entry) > _rank(other):
            newest[entry.prediction_id] = entry
    return [newest[name] for name in sorted(newest)]


def judged_since(entries: Sequence[Entry], since: datetime, until: datetime) -> tuple[int, int]:
    """Return how many predictions were found wrong, and how many were labelled, in some time."""
    received = [one for one in entries if since <= one.received < until]
    return sum(not one.agrees for one in received), len(received)


def _rank(entry: Entry) -> tuple[int, datetime, str]:
    return entry.number, entry.received, entry.label


def _day_of(prediction_id: str) -> str:
    return parse_prediction_id(prediction_id).time.date().isoformat()


def _taken(given: Feedback, prediction: RecordedPrediction, earlier: Entry | None) -> Taken:
    label = checked_label(given.label)
    if earlier and earlier.label == label:
        return Taken("known", earlier)
    entry = Entry(
        prediction_id=given.prediction_id,
        label=label,
        by=given.by.strip(),
        note=given.note,
        number=earlier.number + 1 if earlier else 1,
        received=datetime.now(UTC),
        answered_at=prediction.time,
        kind=prediction.kind,
        answered=prediction.label,
        score=prediction.score,
        threshold=prediction.threshold,
        model_version=prediction.model_version,
        image_sha256=prediction.image_sha256,
    )
    return Taken("corrected" if earlier else "recorded", entry)
