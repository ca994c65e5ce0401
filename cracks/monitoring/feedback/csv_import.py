"""Take in a CSV file of labels: what is sound is kept, the rest is named line by line."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cracks.errors import FeedbackError, TrackingError
from cracks.monitoring.feedback.record import (
    Feedback,
    FeedbackRecord,
    labelled_prediction,
)
from cracks.monitoring.prediction_log.reader import PredictionLog

NEEDED = ("prediction_id", "label")


@dataclass
class TakenFile:
    """What became of the lines of a file."""

    counts: Counter[str] = field(default_factory=Counter)  # by status
    refused: list[dict[str, Any]] = field(default_factory=list)


def take_file(service: Path, file: Path, by: str = "") -> TakenFile:
    """Keep the labels in a file, and return what became of them.

    Args:
        service: the folder of the service whose predictions they are for.
        file: CSV (UTF-8) with a head: prediction_id, label, and perhaps by and note.
        by: who says so, in lines that do not.

    Raises:
        FeedbackError: it is no such file.
        OSError, StorageError: the record cannot be read or written.
    """
    rows, done, sound = _rows(file), TakenFile(), []
    find = cache(PredictionLog.of(service).find)
    for line, row in enumerate(rows, 2):
        name, label = (row.get(key) or "" for key in NEEDED)
        who, note = row.get("by") or by, row.get("note") or ""
        one = Feedback(name.strip(), label, who, note)
        try:
            if not who.strip():
                raise FeedbackError("nobody says so: add a column `by`, or `--by NAME`")
            labelled_prediction(one, find)
        except (FeedbackError, TrackingError) as error:
            done.refused.append({"line": line, "why": str(error)})
            continue
        sound.append(one)
    taken = FeedbackRecord.beside(service).take(sound, find)
    done.counts.update(one.status for one in taken)
    return done


def _rows(file: Path) -> list[dict[str, str | None]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FeedbackError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FeedbackError(f"{file} is no UTF-8. Save it as CSV (UTF-8).") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    lacking = [name for name in NEEDED if name not in (reader.fieldnames or [])]
    if lacking:
        raise FeedbackError(
            f"{file} has no column {' and no '.join(lacking)}. Its first line is to be "
            "`prediction_id,label` or `prediction_id,label,by,note`."
        )
    try:
        return list(reader)
    except csv.Error as error:
        raise FeedbackError(f"{file} is no CSV: {error}.") from None
