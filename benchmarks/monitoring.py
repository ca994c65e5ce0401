"""The part `monitoring`: its rate of false alarms, how soon it sees drift, how much it can read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, measured
from benchmarks.photographs import Photographs, network_params, trained_weights
from benchmarks.scratch import MeasurementFailed, Run, Scratch
from benchmarks.workspaces import Workspace
from cracks.workspace.paths import STAGES

#: Most are held out, so that windows are of photographs that neither model nor reference knows.
SPLIT = ("split.train=0.2", "split.validation=0.2", "split.test=0.6")
CHEAP = (
    "evaluate.resamples=100",
    "evaluate.behaviour_patches=2",
    "evaluate.explained_patches=2",
    "evaluate.novelty.drawn_surfaces=1",
)

#: What is promised: alarms in 200 windows, windows until drift is seen, seconds, megabytes.
LIMITS = {"alarms": 6, "windows": 3, "seconds": 120, "megabytes": 2000}

#: The figure of each order in which held-out photographs come, and what is to be expected of it.
ORDERS = {
    "patches": ("false_alarm_rate", f"in any order; limit {LIMITS['alarms']} in 200"),
    "photographs": (
        "false_alarm_rate_by_photograph",
        "groups of near-copies one after the other, each in one request: in METU the large ones "
        "are all cracked, so what windows hold does change; no limit",
    ),
}


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = MonitoringBench(photographs, scratch)
    return {
        "monitoring.false_alarm_rate": bench.false_alarms,
        "monitoring.windows_to_detect": bench.windows_to_detect,
        "monitoring.answers_per_s": bench.predictions,
    }


class MonitoringBench(Bench):
    """Measures with a model of some photographs: MobileNetV2, or a small one without weights."""

    def false_alarms(self) -> Iterator[Row]:
        """Count the alarms in windows of photographs like the training data."""
        found = self._run("undrifted").found
        for order, (name, expected) in ORDERS.items():
            windows, alarms = found[order]["windows"], found[order]["alarms"]
            note = (
                f"{alarms} alarms in {windows} windows of 50 held-out photographs, {expected}; "
                f"rules of 1 % each; by signal: {found[order]['by_signal'] or 'none'}"
            )
            rate = alarms / max(windows, 1)
            yield measured(f"monitoring.{name}", [rate], "alarms/window", self.note(note))

    def windows_to_detect(self) -> Iterator[Row]:
        """Count the windows until the alarm, when 20 % are of another material."""
        found: dict[str, Any] = self._run("drifted").found
        unseen = [material for material, windows in found.items() if windows is None]
        if unseen:
            raise MeasurementFailed(f"20 % of {', '.join(unseen)} was not noticed in 6 windows")
        counts = ", ".join(f"{material} {windows}" for material, windows in found.items())
        note = (
            f"20 % drawn pictures of another material in 50 predictions; {counts}; limit "
            f"{LIMITS['windows']}"
        )
        worst = max(found.values())
        yield measured("monitoring.windows_to_detect", [worst], "windows", self.note(note))

    def predictions(self) -> Iterator[Row]:
        """Time the watch over a million predictions of one hour."""
        megabytes = self._run("many").found["megabytes"]
        run = self._run("watch")
        count, seconds = run.found["predictions"], run.found["seconds"]
        note = (
            f"{count:,} predictions of one hour, {megabytes} MB on the disk; "
            f"{seconds:.1f} s of {LIMITS['seconds']}, {run.peak_mb:.0f} MB of "
            f"{LIMITS['megabytes']} at most"
        )
        speed = count / seconds
        yield measured("monitoring.answers_per_s", [speed], "predictions/s", self.note(note))

    def _run(self, what: str) -> Run:
        root = self._workspace.paths.root
        return self.scratch.run_module("benchmarks.monitored", what, cwd=root)

    @cached_property
    def _workspace(self) -> Workspace:
        """A workspace with a trained model; most of the photographs are held out."""
        weights = trained_weights()
        params = [*SPLIT, *CHEAP, *(network_params(weights) if weights else ())]
        workspace = Workspace(self.scratch, "monitoring", self.photographs.path, params)
        workspace.run_all(STAGES)
        return workspace
