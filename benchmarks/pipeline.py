"""A scratch workspace as a user has one: a DVC repository, brought up to date with `dvc repro`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scratch import Scratch
from benchmarks.workspaces import Workspace
from cracks.system.atomic_files import remove
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import STAGES

#: What DVC remembers of earlier runs.
MEMORY = ("dvc.lock", ".dvc/cache", ".dvc/tmp")


@dataclass(frozen=True)
class Reproduced:
    """What bringing a workspace up to date took."""

    seconds: float
    stages: Mapping[str, float]  # seconds of those that ran, with their start and DVC's own work

    def __str__(self) -> str:
        shown = [f"{stage} {seconds:.0f}" for stage, seconds in self.stages.items()]
        return ", ".join([*shown, f"the rest {self.seconds - sum(self.stages.values()):.0f}"])


class Pipeline:
    """A workspace that DVC brings up to date."""

    def __init__(
        self, scratch: Scratch, name: str, source: Path, assignments: Sequence[str]
    ) -> None:
        """Make a workspace called `name`; see `Workspace`."""
        self._scratch, self._name = scratch, name
        self.workspace = Workspace(scratch, name, source, assignments)
        scratch.run(["git", "init", "--quiet"], self.workspace.paths.root)

    def change(self, *assignments: str) -> None:
        """Change parameters."""
        set_params(self.workspace.paths.params, assignments)

    def forget(self) -> None:
        """Remove what the stages wrote, dvc.lock, and DVC's cache and state."""
        self.workspace.clear()
        for name in MEMORY:
            remove(self.workspace.paths.root / name)
        remove(self._scratch.place / "dvc-site")

    def reproduce(self) -> Reproduced:
        """Bring everything up to date.

        Raises:
            MeasurementFailed: a stage refuses.
        """
        self._scratch.tell(f"{self._name}: dvc repro")
        start = time.time()
        run = self._scratch.run_module("dvc", "repro", cwd=self.workspace.paths.root)
        return Reproduced(run.seconds, self.stages(start))

    def stages(self, start: float = 0) -> dict[str, float]:
        """Return the seconds of the stages that ran since `start`; see `seconds_of_stages`."""
        reports = {stage: self.workspace.paths.report(stage) for stage in STAGES}
        return seconds_of_stages(reports, start)


def seconds_of_stages(reports: Mapping[str, Path], start: float) -> dict[str, float]:
    """Return how long after the one before each stage had written its report, in this order.

    Args:
        reports: of the stages, which write them last.
        start: seconds since the epoch; reports from before are of stages that did not run.
    """
    ends = {stage: report.stat().st_mtime for stage, report in reports.items()}
    ran = sorted((end, stage) for stage, end in ends.items() if end > start)
    before = [start, *(end for end, _ in ran)]
    return {stage: end - then for (end, stage), then in zip(ran, before, strict=False)}
