"""Describe a model version in words that a person reads in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cracks.evaluation.metrics import METRICS
from cracks.registry.gate import Decision
from cracks.system.templates import render
from cracks.workspace.stage_reports import EvaluateReport, SplitReport, StageReports

#: The metrics of the card.
SHOWN = tuple(metric.name for metric in METRICS if metric.in_card)

#: Figures of evaluate that are shown at once.
PICTURES = ("confusion", "mistakes", "calibration", "slices")

#: Rows of the long tables.
SLICES_SHOWN, LIMITS_SHOWN = 5, 10

#: MLflow's largest length of a description.
LONGEST_DESCRIPTION = 5000


def metrics_table(evaluation: EvaluateReport) -> str:
    """Return the metrics of validation and test, with their 95 % intervals, as a Markdown table."""
    return render(
        "cracks/registry/metrics_table.md.jinja",
        metrics=SHOWN,
        validation=evaluation["validation"],
        test=evaluation["test"],
    )


def reliability(evaluation: EvaluateReport) -> str:
    """Return calibration and novelty in words, as Markdown."""
    return render("cracks/registry/reliability.md.jinja", evaluation=evaluation)


def evidence(split: SplitReport) -> str:
    """Return in one sentence what the intervals and the gate count."""
    known = f"{split['photographs_known']:.0%} of the patches"
    if split["counted"] == "patches":
        return (
            f"Intervals and gate count patches: photographs are known of {known}. They claim more "
            "than the data shows, until photos.csv or folders name the photographs."
        )
    return f"Intervals and gate count {split['counted']}. Photographs are known of {known}."


def comparison_table(decision: Decision) -> str:
    """Return what the challenger gains and loses against the champion, as a Markdown table."""
    return render("cracks/registry/comparison_table.md.jinja", comparison=decision.comparison)


def slices_table(slices: Sequence[Mapping[str, str]]) -> str:
    """Return the slices that are predicted worst, by accuracy, as a Markdown table."""
    worst = sorted(slices, key=lambda row: float(row["accuracy"]))[:SLICES_SHOWN]
    return render("cracks/registry/slices_table.md.jinja", worst=worst)


def limits_table(decision: Decision) -> str:
    """Return the limits and what was measured, as a Markdown table."""
    template = "cracks/registry/limits_table.md.jinja"
    return render(template, limits=decision.limits, most=LIMITS_SHOWN)


def describe_version(
    reports: StageReports,
    slices: Sequence[Mapping[str, str]],
    decision: Decision,
    tags: Mapping[str, str],
) -> str:
    """Return the model card of a version, as the Markdown that MLflow shows.

    Args:
        reports: of the stages, by name.
        slices: rows of reports/slices.csv.
        decision: why it was registered.
        tags: of the version; "run.id" and what leads to code and data.

    Returns:
        At most as much as MLflow keeps: of a longer one the end is cut off.
    """
    card = render(
        "cracks/registry/model_card.md.jinja",
        evaluation=reports["evaluate"],
        ingested=reports["ingest"],
        evidence=evidence(reports["split"]),
        slices=slices,
        decision=decision,
        tags=tags,
        pictures=PICTURES,
        metrics_table=metrics_table,
        reliability=reliability,
        comparison_table=comparison_table,
        slices_table=slices_table,
        limits_table=limits_table,
    )
    return card[:LONGEST_DESCRIPTION]
