"""The step that puts a version into service, whoever has decided it."""

from __future__ import annotations

from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import Report
from flows.artifacts import publish_promotion
from flows.steps import step


@step("promote")
def promote_version(
    params: Params, paths: Paths, version: str, who: str = "", why: str = ""
) -> Report:
    """Put an accepted version into service."""
    from tasks.promote import promote

    report = promote(params, paths, version, who=who, why=why)
    publish_promotion(report)
    return report


def summarise_promotion(report: Report) -> str:
    """Return in one line what came of a promotion."""
    answers = "answers from now on" if report["changed"] else "is in service already"
    return f"version {report['version']} {answers}"
