"""The metrics of champion, trainings, data and monitoring, read when Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cracks.errors import CracksError
from cracks.inference.handover.champion import read_champion
from cracks.inference.handover.training_summaries import Outcome, read_runs
from serving.telemetry.monitoring_cache import MonitoringCache

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

#: Values by those of the labels, which are tuples of words.
Samples = Mapping[Any, float]


class PipelineCollector:
    """Gauges from the files of the service folder; any process tells the same."""

    def __init__(self, service: Path, watched: MonitoringCache) -> None:
        """Read nothing yet."""
        self._service, self._watched = service, watched

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give all gauges that there is something to say of."""
        problems = 0
        for part in (self._champion, self._training, self._monitoring, self._live):
            try:
                yield from list(part())
            except (CracksError, OSError):
                problems += 1
        yield _gauge(
            "pipeline_problems", "Parts of the overview that cannot be read.", {(): problems}
        )

    def _champion(self) -> Iterator[GaugeMetricFamily]:
        champion = read_champion(self._service)
        if champion is None:
            return
        if champion.version.isdecimal():
            yield _gauge(
                "champion_version",
                "Version that promotion has named.",
                {(): float(champion.version)},
            )
        yield _gauge(
            "champion_promoted_timestamp_seconds",
            "When it was promoted.",
            {(): _seconds(champion.promoted_at)},
        )

    def _training(self) -> Iterator[GaugeMetricFamily]:
        runs = read_runs(self._service)
        if not runs:
            return
        last = runs[0]
        yield _gauge(
            "training_last_end_timestamp_seconds",
            "When the last training ended.",
            {(): _seconds(last.ended)},
        )
        yield _gauge(
            "training_last_outcome",
            "1 for how the last training ended.",
            {(one,): float(one == last.outcome) for one in get_args(Outcome)},
            "outcome",
        )
        data = next((run.data for run in runs if run.data), None)
        if data:
            counts = {
                "distinct": data.distinct_patches,
                "quarantined": data.quarantined,
            }
            yield _gauge(
                "data_patches",
                "Photographs that the last training saw.",
                {(kind,): float(count) for kind, count in counts.items()},
                "kind",
            )

    def _monitoring(self) -> Iterator[GaugeMetricFamily]:
        window = self._watched.newest()
        if window is None:
            return
        yield _gauge(
            "monitoring_last_timestamp_seconds",
            "When monitoring last judged a window of predictions.",
            {(): window.made.timestamp()},
        )
        yield _gauge(
            "monitoring_window_answers", "Predictions of that window.", {(): float(window.answers)}
        )
        signals = window.signals
        for name, text, samples in (
            (
                "monitoring_value",
                "What was measured in that window.",
                {(one.name,): one.value for one in signals if one.value is not None},
            ),
            (
                "drift_evidence",
                "Evidence for drift that was gathered over the windows (e-value).",
                {(one.name,): one.evidence for one in signals},
            ),
            (
                "drift_evidence_needed",
                "Evidence from which on a rule fires.",
                {(one.name,): one.needed for one in signals if one.needed is not None},
            ),
            (
                "drift_fired",
                "1 for a signal whose rule fired in that window.",
                {(one.name,): float(one.fired) for one in signals if one.needed is not None},
            ),
        ):
            yield _gauge(name, text, samples, "signal")

    def _live(self) -> Iterator[GaugeMetricFamily]:
        live = self._watched.live()
        if live is None:
            return
        labelled = {(): float(live.labelled)}
        yield _gauge("live_labelled_answers", "Predictions with feedback.", labelled)
        for name, interval in (("accuracy", live.accuracy), ("crack_recall", live.crack_recall)):
            values = {"estimate": interval.rate, "low": interval.low, "high": interval.high}
            yield _gauge(
                f"live_{name}",
                "Share of right predictions by feedback, with its 95 % interval.",
                {(bound,): value for bound, value in values.items() if value is not None},
                "bound",
            )


def _gauge(name: str, text: str, samples: Samples, *labels: str) -> GaugeMetricFamily:
    # Imported here: `serving.telemetry.metrics` says why.
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"cracks_{name}", text, labels=labels)
    for values, value in samples.items():
        family.add_metric(values, value)
    return family


def _seconds(iso_time: str) -> float:
    return datetime.fromisoformat(iso_time).timestamp()
