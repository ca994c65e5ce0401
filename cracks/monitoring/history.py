"""The history of monitoring: one record a window of time, which the service can read too.

    answers/monitoring/windows/2026-11-21.jsonl   the windows that began on a day (UTC), a line each
    answers/monitoring/pictures/NAME.png          which photographs moved a window

Only the flow `monitoring` writes it. A window that has too few predictions to be judged has a
record as well, with `judged: false`; it stays open, and the next record of the same beginning
replaces it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cracks.monitoring.prediction_log.locations import place_beside_predictions
from cracks.storage.object_store import ObjectStore, open_store

logger = logging.getLogger(__name__)

#: Folders below the record of predictions.
FOLDER, WINDOWS, PICTURES = "monitoring", "windows", "pictures"

#: What is watched; see docs/monitoring.md for how each is measured.
SignalName = Literal[
    "embedding",  # share of predictions whose features lie far from those of held-out patches
    "scores",  # largest difference of the distribution functions of the scores (Kolmogorov)
    "novelty",  # share of predictions flagged as novel
    "crack_share",  # share of predictions that say `crack`
    "latency",  # share of predictions slower than monitor.latency.limit_ms
    "errors",  # share of requests that the service failed
    "accuracy",  # share of predictions that people found wrong (feedback)
    "new_data",  # population stability index of data that the champion has not learned from
]


class _Kept(BaseModel):
    # A later release may say more; what this one does not know is passed over.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Signal(_Kept):
    """What was measured of one signal in one window."""

    name: SignalName
    #: None: there was nothing to measure (`says` tells why).
    value: float | None = None
    #: What it is without drift, in the same unit: the mean, or the limit of `latency` and the like.
    expected: float | None = None
    #: From what on it would be rare without drift in a single window, in the same unit; for charts.
    usual_up_to: float | None = None
    count: int = 0  # of what it was measured on
    #: How probable it is to see this much without drift, in a single window.
    p_value: float | None = None
    #: Evidence for drift gathered over windows (an e-value); it fires at `needed` or above.
    evidence: float = 1.0
    needed: float | None = None  # None: this signal has no rule and is only shown
    fired: bool = False
    says: str = ""  # in words


class TopContributor(_Kept):
    """A predicted photograph that lies far from the reference."""

    prediction_id: str
    image_sha256: str
    distance: float  # of its sketch from that of the nearest training patch
    score: float
    novelty: float | None = None
    label: str
    #: The nearest training patch in the bundle: its id and its label.
    nearest_id: str = ""
    nearest_label: str = ""


class Window(_Kept):
    """One window of time: what was predicted in it, and what that says."""

    begin: datetime  # UTC
    end: datetime
    made: datetime  # when this record was written
    judged: bool  # False: too few predictions yet; the window is still open
    answers: int
    requests: int | None = None  # None: the service did not count them
    model_version: str = ""  # the champion whose reference it was compared with
    run_id: str = ""
    signals: tuple[Signal, ...] = ()
    #: Names of the rules that fired.
    fired: tuple[SignalName, ...] = ()
    #: Whether a training was asked for; False with `fired`: the cool-down was not over.
    asked_for_training: bool = False
    #: Whether Prefect's server was told; a flow killed before that tells it the next time.
    told: bool = False
    reason: str = ""  # why, in one line: what the run and the version that come of it will say
    movers: tuple[TopContributor, ...] = ()
    picture: str = ""  # file below pictures/; empty where no photographs are kept
    skipped: tuple[str, ...] = ()  # damaged parts of the record of predictions, with the reason

    def signal(self, name: SignalName) -> Signal | None:
        """Return what was measured of a signal, or None."""
        return next((one for one in self.signals if one.name == name), None)


class Interval(_Kept):
    """A share with its 95 % interval; all None where there is nothing to count."""

    rate: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0


class CalibrationBin(_Kept):
    """Predictions of similar scores: what was promised, and what was so."""

    score: float  # mean
    share_of_cracks: float
    answers: int


class LiveAccuracy(_Kept):
    """How right the service was, by the labels that people gave."""

    made: datetime
    since: datetime | None = None  # time of the oldest and of the newest prediction with feedback
    until: datetime | None = None
    labelled: int = 0
    model_versions: tuple[str, ...] = ()
    accuracy: Interval = Interval()
    crack_recall: Interval = Interval()
    false_alarms: Interval = Interval()  # share of clean ones that were called cracked
    ece: Interval = Interval()  # expected calibration error
    calibration: tuple[CalibrationBin, ...] = ()
    by_version: dict[str, Interval] = {}  # accuracy of each model version


# --- reading and writing --------------------------------------------------------------------------


def place_of_monitoring(service: Path) -> str:
    """Return where the monitoring of a service keeps its history: a folder or `s3://…`."""
    return place_beside_predictions(service, FOLDER)


def write_window(place: str | Path, window: Window) -> None:
    """Write a window; one of the same beginning is replaced.

    Raises:
        OSError: the folder cannot be written.
        StorageError: the bucket cannot be written.
    """
    files, name = open_store(place), _file_of(window.begin)
    others = [one for one in _windows_in(files, name) if one.begin != window.begin]
    ordered = sorted([*others, window], key=lambda one: one.begin)
    files.write(name, "".join(f"{one.model_dump_json()}\n" for one in ordered).encode())


def read_windows(place: str | Path, limit: int, *, since: datetime | None = None) -> list[Window]:
    """Return the newest windows, the oldest of these first; none before the first one.

    Args:
        place: what `place_of_monitoring` gives.
        limit: how many at most.
        since: those that begin earlier are left out.

    Raises:
        OSError: the folder cannot be read.
        StorageError: the bucket cannot be read, or boto3 is not installed.
    """
    newest: list[Window] = []
    for window in _newest_first(open_store(place)):
        if len(newest) >= limit or (since and window.begin < since):
            break
        newest.append(window)
    return newest[::-1]


def write_live_accuracy(place: str | Path, found: LiveAccuracy) -> None:
    """Write how right the service was; raises as `write_window`."""
    open_store(place).write(ACCURACY, found.model_dump_json(indent=2).encode())


def read_live_accuracy(place: str | Path) -> LiveAccuracy | None:
    """Return how right the service was, or None where nobody has said; raises as `read_windows`."""
    try:
        return LiveAccuracy.model_validate_json(open_store(place).read(ACCURACY))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        logger.warning("%s/%s is damaged: %s", place, ACCURACY, _first(error))
        return None


def write_picture(place: str | Path, name: str, content: bytes) -> None:
    """Keep a picture of a window; raises as `write_window`."""
    open_store(place).write(f"{PICTURES}/{name}", content)


def write_report(place: str | Path, page: str) -> None:
    """Keep the report of the last window, one HTML file; raises as `write_window`."""
    open_store(place).write(REPORT, page.encode())


def read_picture(place: str | Path, name: str) -> bytes | None:
    """Return a picture of a window, or None; raises as `read_windows`."""
    if not name or "/" in name or name.startswith("."):
        return None
    try:
        return open_store(place).read(f"{PICTURES}/{name}")
    except FileNotFoundError:
        return None


ACCURACY, REPORT = "accuracy.json", "report.html"


def _file_of(begin: datetime) -> str:
    return f"{WINDOWS}/{begin.astimezone(UTC).date().isoformat()}.jsonl"


def _newest_first(files: ObjectStore) -> Iterator[Window]:
    for name in reversed(files.keys(f"{WINDOWS}/")):
        yield from reversed(_windows_in(files, name))


def _windows_in(files: ObjectStore, name: str) -> list[Window]:
    """Return the windows of a day; a line that is none is passed over, and said."""
    try:
        lines = files.read(name).splitlines()
    except FileNotFoundError:
        return []
    windows = []
    for number, line in enumerate(lines, 1):
        try:
            windows.append(Window.model_validate_json(line))
        except ValidationError as error:
            logger.warning(
                "%s, line %d is no window and passed over: %s", name, number, _first(error)
            )
    return sorted(windows, key=lambda one: one.begin)


def _first(error: ValidationError) -> str:
    return error.errors(include_url=False)[0]["msg"]
