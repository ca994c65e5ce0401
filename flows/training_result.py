"""What came of a training: the flow returns it, and `cracks train --json` prints it."""

from __future__ import annotations

from cracks.registry.gate import RegisterReport
from cracks.workspace.stage_reports import TestMetrics


class TrainingResult(RegisterReport):
    """The report of `register`, and what the flow has done with it."""

    promoted: bool  # by this run, or by one before
    metrics: TestMetrics
    stages: dict[str, str]  # "ran", "up to date", or "failed"
