"""Describe a model version in words that a person reads in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cracks.registry.gate import Decision
from cracks.workspace.stage_reports import EvaluateReport, MetricName, StageReports

SHOWN: tuple[MetricName, ...] = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "pr_auc",
    "brier",
)

#: Figures of evaluate that are shown at once.
PICTURES = ("confusion", "mistakes", "calibration", "slices")

#: Rows of the long tables.
SLICES_SHOWN, LIMITS_SHOWN = 5, 10

#: MLflow's largest length of a description.
LONGEST_DESCRIPTION = 5000


def metrics_table(evaluation: EvaluateReport) -> str:
    """Return the metrics of validation and test, with their 95 % intervals, as a Markdown table."""
    test = evaluation["test"]
    head = "| metric | validation | test | 95 % interval |\n|---|---|---|---|\n"
    lines = [
        f"| {name} | {evaluation['validation'][name]:.4f} | {test[name]:.4f} | "
        f"{test['intervals'][name]['low']:.4f} to {test['intervals'][name]['high']:.4f} |"
        for name in SHOWN
    ]
    return head + "\n".join(lines)


def reliability(evaluation: EvaluateReport) -> str:
    """Return calibration and novelty in words, as Markdown."""
    calibration, flagged = evaluation["calibration"], evaluation["novelty"]["flagged_on_test"]
    before, after = calibration["before"]["ece"], calibration["after"]["ece"]
    surfaces = evaluation["drawn_surfaces_flagged"]
    others = ", ".join(f"{name} {share:.0%}" for name, share in surfaces.items())
    return (
        f"Calibration ({calibration['method']}): expected calibration error {before:.4f} before, "
        f"{after:.4f} after. Of test patches {flagged['rate']:.2%} are flagged as unlike the "
        f"training data; of drawn pictures of other materials: {others}."
    )


def comparison_table(decision: Decision) -> str:
    """Return what the challenger gains and loses against the champion, as a Markdown table."""
    head = (
        "| on today's test set | this | champion | difference | bounds | gained, lost | p higher, "
        "lower |\n|---|---|---|---|---|---|---|\n"
    )
    lines = [
        f"| {row['metric']} | {row['challenger']:.4f} | {row['champion']:.4f} "
        f"| {row['difference']:+.4f} | {row['low']:+.4f} to {row['high']:+.4f} "
        f"| {row['gained']:,}, {row['lost']:,} of {row['patches']:,} "
        f"| {row['p_higher']:.2g}, {row['p_lower']:.2g} |"
        for row in decision.comparison
    ]
    return head + "\n".join(lines) if lines else "There was no champion to compare it with."


def slices_table(slices: Sequence[Mapping[str, str]]) -> str:
    """Return the slices that are answered worst, by accuracy, as a Markdown table."""
    columns = ("worst slices", "patches", "accuracy", "95 % interval", "crack recall")
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    worst = sorted(slices, key=lambda row: float(row["accuracy"]))[:SLICES_SHOWN]
    lines = [
        f"| {_cell(row['slice'])} | {int(row['patches']):,} | {float(row['accuracy']):.4f} "
        f"| {float(row['accuracy_low']):.4f} to {float(row['accuracy_high']):.4f} "
        f"| {_rate(row['crack_recall'])} |"
        for row in worst
    ]
    return head + "\n".join(lines)


def limits_table(decision: Decision) -> str:
    """Return the limits and what was measured, as a Markdown table."""
    head = "| limit | measured | at least | at most |\n|---|---|---|---|\n"
    rows = decision.limits[:LIMITS_SHOWN]
    lines = [
        f"| {_cell(row['metric'])} | {_rate(row['value'])} | {_rate(row['min'])} "
        f"| {_rate(row['max'])} |"
        for row in rows
    ]
    more = len(decision.limits) - len(rows)
    return head + "\n".join(lines) + (f"\n\n{more} more limits hold." if more else "")


def pictures(run_id: str) -> str:
    """Return some figures of a run, which MLflow's own page shows, and where the others are."""
    shown = "\n".join(
        f"![{name}](get-artifact?path=figures/evaluate/{name}.png&run_uuid={run_id})"
        for name in PICTURES
    )
    return f"{shown}\n\nAll figures, reports and the bundle are artifacts of run `{run_id}`."


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
    evaluation, ingested = reports["evaluate"], reports["ingest"]
    sections = [
        "Answers `crack` or `no crack` for a patch of concrete, with a calibrated score and a "
        f"novelty. Verdict **{decision.verdict}**: {'; '.join(decision.reasons)}.",
        f"**Data.** Trained on {ingested['distinct_patches']:,} distinct patches from "
        f"`{ingested['source']}`, less what is held out; threshold "
        f"{evaluation['threshold']:.4f}, chosen on validation.",
        metrics_table(evaluation),
        reliability(evaluation),
        comparison_table(decision),
        slices_table(slices),
        limits_table(decision),
        "**Not for** surfaces unlike those it was trained on. It answers for any other picture "
        "all the same; the shares above say how many of such it flags as novel.",
        f"**From** git commit `{tags['git.commit'][:12]}`, dvc.lock "
        f"`{tags['dvc.lock.sha256'][:12]}`, data `{tags['data.digest'][:12]}`, bundle "
        f"`{tags['bundle.digest'][:12]}`.",
        pictures(tags["run.id"]),
    ]
    return "\n\n".join(sections)[:LONGEST_DESCRIPTION]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rate(value: Any) -> str:
    return "" if value in (None, "") else f"{float(value):.4g}"
