"""The step that puts a version into service, whoever has decided it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from flows.artifacts import publish_promotion
from flows.steps import step

if TYPE_CHECKING:
    from cracks.registry.promotion.transaction import PromotionReport


@step("promote")
def promote_version(
    params: Params, paths: Paths, version: str, who: str = "", why: str = ""
) -> PromotionReport:
    """Put an accepted version into service."""
    from tasks.promote import promote

    report = promote(params, paths, version, who=who, why=why)
    publish_promotion(report)
    return report


def summarise_promotion(report: PromotionReport) -> str:
    """Return in one line what came of a promotion."""
    place = "is in service now" if report["changed"] else "is in service already"
    return f"version {report['version']} {place}"
