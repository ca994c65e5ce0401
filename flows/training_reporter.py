"""Tell a training at its end, however it ended: its page in Prefect, its row for the service."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from cracks.evaluation.metrics import METRICS
from cracks.inference.handover.training_summaries import (
    LONGEST,
    TrainingRun,
    data_seen,
    estimates_on_test,
    outcome_of,
    record_run,
)
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import StageReports, read_reports
from flows.training_page import pictures_of, story
from flows.training_result import TrainingResult

logger = logging.getLogger("cracks.training")

#: The metrics that the service shows of a training.
IN_SUMMARY = tuple(metric.name for metric in METRICS if metric.in_summary)

#: The artifact that tells all of a run.
KEY = "training-story"


class TrainingReporter:
    """What is known of a run while it goes on."""

    def __init__(self, why: str = "") -> None:
        """Begin now.

        Args:
            why: what the run was started for.
        """
        self._why, self._started, self._began = why, _now(), time.time()
        self._reports: StageReports = {}
        self._pictures: dict[str, list[tuple[str, str]]] = {}
        #: The stages so far, in their order: "ran", "up to date", or "failed".
        self.stages: dict[str, str] = {}

    def poll(self, paths: Paths) -> None:
        """Read reports and pictures of the stages so far; call it while no stage writes them."""
        try:
            stages = [stage for stage in self.stages if self._has_reported(stage, paths)]
            self._reports = read_reports(paths, stages)
            self._pictures = pictures_of(paths, stages)
        except Exception as error:  # the run itself is what matters
            logger.warning("The page of this run stays without its reports: %s", error)

    def _has_reported(self, stage: str, paths: Paths) -> bool:
        if self.stages[stage] != "failed":
            return True
        # Data that is refused has a report that says why; any other one is of an earlier run.
        report = paths.report(stage)
        return stage == "validate" and report.is_file() and report.stat().st_mtime >= self._began

    def end(self, paths: Paths, result: TrainingResult | None, problem: str = "") -> None:
        """Publish the page, and give the row to the service; what fails there is only said.

        Args:
            paths: of the workspace.
            result: what the flow returns; None where it failed.
            problem: why it failed.
        """
        try:
            run = self._run(result, problem)
            record_run(paths.service, run)
            text = story(run, self._reports, result, self._pictures)
            create_markdown_artifact(key=KEY, markdown=text, description="All of it on one page")
        except Exception as error:  # the model is in service all the same
            logger.warning("The run is over, but its page could not be made: %s", error)

    def _run(self, result: TrainingResult | None, problem: str) -> TrainingRun:
        said: Mapping[str, Any] = result or {}
        return TrainingRun(
            flow_run_id=str(flow_run.id or ""),
            name=str(flow_run.name or ""),
            started=self._started,
            ended=_now(),
            why=self._why[:LONGEST],
            outcome=outcome_of(result),
            verdict=said.get("verdict"),
            reasons=[one[:LONGEST] for one in said.get("reasons", [problem])],
            run_id=said.get("run_id"),
            version=said.get("version"),
            stages=self.stages,
            data=data_seen(self._reports),
            test=estimates_on_test(self._reports, IN_SUMMARY),
            comparison=said.get("comparison", []),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
