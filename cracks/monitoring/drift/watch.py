"""Watch the service: judge the windows since the last time, and say whether to train again.

A window is one hour, or as many as it takes to have `monitor.min_answers`. It ends on a full hour
some minutes ago, since a prediction may be written a little late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cracks.errors import BundleError
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.handover.champion import Champion, open_champion
from cracks.monitoring.drift.null_distribution import NullDistribution
from cracks.monitoring.drift.reference import Neighbours, read_neighbours, read_reference
from cracks.monitoring.drift.signals import ExternalSignals, cool_down_is_over, judge, reason_of
from cracks.monitoring.drift.window_sums import (
    COLUMNS,
    ReferenceMetric,
    WindowSums,
    top_contributors_of,
)
from cracks.monitoring.feedback.live_accuracy import measure_live
from cracks.monitoring.feedback.record import Entry, FeedbackRecord, judged_since
from cracks.monitoring.history import (
    Signal,
    TopContributor,
    Window,
    place_of_monitoring,
    read_windows,
    write_live_accuracy,
    write_window,
)
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.monitoring.request_counts import Counted, counted_requests
from cracks.workspace.params import MonitorParams

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)

#: How long after its end an hour is waited for, and how far back hours are judged.
GRACE, REACH_BACK = timedelta(minutes=5), timedelta(days=7)

#: Windows that are read to know whether the cool-down is over.
REMEMBERED = 24 * 31

#: Draws the picture of what moved a window; returns the name of its file, or nothing.
Draw = Callable[[Window, list[TopContributor]], str]


@dataclass(frozen=True)
class DriftBaseline:
    """The champion, and all that predictions are compared with."""

    champion: Champion
    bundle: Bundle
    neighbours: Neighbours
    reference_metric: ReferenceMetric
    null_distribution: NullDistribution


def open_baseline(service: Path, section: MonitorParams) -> DriftBaseline:
    """Return the champion in service with its reference.

    Raises:
        ServiceError: there is no champion yet.
        BundleError: its bundle is damaged, or older than references are.
    """
    champion, bundle = open_champion(service)
    if bundle.reference is None or bundle.neighbours is None:
        raise BundleError(
            f"The bundle of version {champion.version} has no reference to compare predictions "
            "with: it was exported by an earlier release. `cracks train` makes a new one."
        )
    reference = read_reference(bundle.reference)
    reference_metric = ReferenceMetric.of(reference)
    called = reference.scores >= bundle.content.threshold
    null_distribution = NullDistribution(
        reference, reference_metric, called, section.expected_crack_share
    )
    neighbours = read_neighbours(bundle.neighbours)
    return DriftBaseline(champion, bundle, neighbours, reference_metric, null_distribution)


def watch(
    service: Path,
    baseline: DriftBaseline,
    section: MonitorParams,
    now: datetime,
    *,
    new_data: Signal | None = None,
    draw: Draw | None = None,
) -> list[Window]:
    """Judge what was predicted since the last window, write it down, and return it.

    Doing it again with nothing new returns nothing, and judges nothing twice.

    Args:
        service: the folder of the service.
        baseline: the champion in service.
        section: of params.yaml.
        now: the present, with its time zone.
        new_data: what was measured of newly ingested data.
        draw: draws what moved a window that fires.

    Raises:
        StorageError: the bucket of the record cannot be read.
        OSError: a folder cannot be read or written.
    """
    place = place_of_monitoring(service)
    record = PredictionLog.of(service)
    feedback = FeedbackRecord.beside(service).everything()
    history = read_windows(place, REMEMBERED)
    end = _full_hour(now - GRACE)
    begin = _next_begin(history, section, _oldest(record), end)
    made: list[Window] = []
    sums = _sums(baseline, section)
    hour = begin
    while hour < end:
        sums.add_all(record.read(hour, hour + HOUR, COLUMNS))
        hour += HOUR
        full = sums.answers >= section.min_answers
        closed = full or hour - begin >= timedelta(hours=section.longest_hours)
        if not closed and hour < end:
            continue
        window = _window(baseline, sums, (begin, hour), now, record, judged=full)
        if full:
            window = _judged(window, service, baseline, sums, history, feedback, section, new_data)
            if draw and window.fired:
                window = window.model_copy(update={"picture": draw(window, list(window.movers))})
        write_window(place, window)
        made.append(window)
        history.append(window)
        record.damaged.clear()
        if closed:
            begin, sums = hour, _sums(baseline, section)
    write_live_accuracy(place, measure_live(feedback, now))
    return made


def _window(
    baseline: DriftBaseline,
    sums: WindowSums,
    hours: tuple[datetime, datetime],
    now: datetime,
    record: PredictionLog,
    *,
    judged: bool,
) -> Window:
    return Window(
        begin=hours[0],
        end=hours[1],
        made=now,
        judged=judged,
        answers=sums.answers,
        model_version=baseline.champion.version,
        run_id=baseline.champion.run_id,
        skipped=tuple(f"{name}: {why}" for name, why in sorted(record.damaged.items())),
    )


def _judged(
    window: Window,
    service: Path,
    baseline: DriftBaseline,
    sums: WindowSums,
    history: Sequence[Window],
    feedback: Sequence[Entry],
    section: MonitorParams,
    new_data: Signal | None,
) -> Window:
    before = next((one for one in reversed(history) if one.judged), None)
    wrong, labelled = judged_since(feedback, before.end if before else window.begin, window.end)
    requests = counted_requests(service, window.begin, window.end)
    beside = ExternalSignals(requests, Counted(wrong, labelled) if labelled else None, new_data)
    signals = judge(sums, baseline.null_distribution, before, beside, section)
    times = [f"{one:%Y-%m-%d %H:%M}" for one in (window.begin, window.end)]
    reason = reason_of(signals, section, baseline.champion.version, *times)
    return window.model_copy(
        update={
            "signals": signals,
            "requests": requests.total if requests else None,
            "fired": tuple(one.name for one in signals if one.fired),
            "reason": reason,
            "asked_for_training": bool(reason)
            and cool_down_is_over(list(history), window, section.cool_down_hours),
            "movers": tuple(top_contributors_of(sums, baseline.neighbours)),
        }
    )


def _sums(baseline: DriftBaseline, section: MonitorParams) -> WindowSums:
    return WindowSums(
        baseline.reference_metric,
        baseline.champion.version,
        section.limits.slow_ms,
    )


def _next_begin(
    history: Sequence[Window], section: MonitorParams, oldest: datetime, end: datetime
) -> datetime:
    """Return where the next window begins: after the last closed one, and not too far back."""
    if history:
        last = max(history, key=lambda one: one.begin)
        closed = last.judged or last.end - last.begin >= timedelta(hours=section.longest_hours)
        begin = last.end if closed else last.begin
    else:
        begin = oldest
    if begin < end - REACH_BACK:
        logger.warning("predictions before %s are not judged any more", end - REACH_BACK)
    return max(begin, end - REACH_BACK)


def _oldest(record: PredictionLog) -> datetime:
    """Return the beginning of the day of the oldest prediction."""
    days = record.days()
    oldest = datetime.fromisoformat(days[0]) if days else datetime.max
    return oldest.replace(tzinfo=UTC)


def _full_hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
