"""The part `monitoring`: its rate of false alarms, how soon it sees drift, how much it can read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, measured
from benchmarks.photographs import Photographs
from benchmarks.scratch import MeasurementFailed, Run, Scratch
from benchmarks.weights import network_params, trained_weights
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

#: How the held-out photographs are dealt to windows, and what is to be expected of it.
DEALT = {
    "patches": f"in any order; limit {LIMITS['alarms']} in 200",
    "photographs": "groups of near-copies one after the other, each in one request: in METU the "
    "large ones are all cracked, so what windows hold does change; no limit",
}


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = MonitoringBench(photographs, scratch)
    return {
        "monitoring.false_alarm_rate": bench.false_alarms,
        "monitoring.windows_to_detect": bench.windows_to_detect,
        "monitoring.answers_per_s": bench.answers,
    }


class MonitoringBench(Bench):
    """Measures with a model of some photographs."""

    def false_alarms(self) -> Iterator[Row]:
        """Count the alarms in windows of photographs like the training data."""
        found, _ = self._ask("undrifted")
        for dealt, counts in found.items():
            windows, alarms = counts["windows"], counts["alarms"]
            note = (
                f"{alarms} alarms in {windows} windows of 50 held-out photographs, {DEALT[dealt]}; "
                f"rules of 1 % each; by signal: {counts['by_signal'] or 'none'}; of single windows "
                f"p ≤ 1 %: {counts['p_below_1_percent']}"
            )
            name = "monitoring.false_alarm_rate"
            name += "" if dealt == "patches" else "_by_photograph"
            yield measured(name, [alarms / max(windows, 1)], "alarms/window", self._note(note))

    def windows_to_detect(self) -> Iterator[Row]:
        """Count the windows until the alarm, when 20 % are of another material."""
        found, _ = self._ask("drifted")
        late = [
            material
            for material, one in found.items()
            if one["windows"] is None or one["windows"] > LIMITS["windows"]
        ]
        if any(one["windows"] is None for one in found.values()):
            raise MeasurementFailed(f"20 % of {', '.join(late)} was not noticed in 6 windows")
        counts = ", ".join(f"{material} {one['windows']}" for material, one in found.items())
        early = sum(one["too_early"] for one in found.values())
        reason = next(iter(found.values()))["reason"]
        note = (
            f"20 % drawn pictures of another material in 50 answers; {counts}; alarms before it "
            f"began: {early}; limit {LIMITS['windows']}; the first training's reason: {reason}"
        )
        worst = max(one["windows"] for one in found.values())
        yield measured("monitoring.windows_to_detect", [worst], "windows", self._note(note))

    def answers(self) -> Iterator[Row]:
        """Time the look at a million answers of one hour."""
        written, _ = self._ask("many")
        found, run = self._ask("watch")
        note = (
            f"{found['answers']:,} answers of one hour, {written['megabytes']} MB on the disk; "
            f"{found['seconds']:.1f} s of {LIMITS['seconds']}, {run.peak_mb:.0f} MB of "
            f"{LIMITS['megabytes']} at most"
        )
        speed = found["answers"] / found["seconds"]
        yield measured("monitoring.answers_per_s", [speed], "answers/s", self._note(note))

    def _ask(self, what: str) -> tuple[dict[str, Any], Run]:
        root = self._workspace.paths.root
        run = self.scratch.run_module("benchmarks.monitored", what, root, cwd=root)
        return run.found, run

    @cached_property
    def _workspace(self) -> Workspace:
        """Return a workspace with a trained model; most of the photographs are held out."""
        weights = trained_weights()
        params = [*SPLIT, *CHEAP, *(network_params(weights) if weights else ())]
        workspace = Workspace(self.scratch, "monitoring", self.photographs.path, params)
        workspace.run_all(STAGES)
        return workspace

    def _note(self, text: str) -> str:
        network = "MobileNetV2" if trained_weights() else "the small network"
        return f"{text}; {network}, {self.photographs.count:,} photographs"
