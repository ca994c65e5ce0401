"""Describe a model version in words that a person reads in the registry."""

from __future__ import annotations

from cracks.gate import Decision
from cracks.reports import Report

SHOWN = ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier")


def metrics_table(evaluation: Report) -> str:
    """Return the metrics of validation and test, with their 95 % intervals, as a Markdown table."""
    test = evaluation["test"]
    head = "| metric | validation | test | 95 % interval |\n|---|---|---|---|\n"
    lines = [
        f"| {name} | {evaluation['validation'][name]:.4f} | {test[name]:.4f} | "
        f"{test['intervals'][name]['low']:.4f} to {test['intervals'][name]['high']:.4f} |"
        for name in SHOWN
    ]
    return head + "\n".join(lines)


def reliability(evaluation: Report) -> str:
    """Return calibration and novelty in words, as Markdown."""
    calibration, flagged = evaluation["calibration"], evaluation["novelty"]["flagged_on_test"]
    before, after = (calibration[when]["ece"] for when in ("before", "after"))
    surfaces = evaluation["drawn_surfaces_flagged"]
    others = ", ".join(f"{name} {share:.0%}" for name, share in surfaces.items())
    return (
        f"Calibration ({calibration['method']}): expected calibration error {before:.4f} before, "
        f"{after:.4f} after. Of test patches {flagged['rate']:.2%} are flagged as unlike the "
        f"training data; of drawn pictures of other materials: {others}."
    )


def describe_version(evaluation: Report, decision: Decision, ingested: Report) -> str:
    """Return the Markdown description of an accepted version."""
    return (
        f"Answers `crack` or `no crack` for a patch of concrete. Accepted: "
        f"{'; '.join(decision.reasons)}.\n\n"
        f"Trained on {ingested['distinct_patches']:,} distinct patches from "
        f"`{ingested['source']}`; threshold {evaluation['threshold']:.4f}, chosen on validation."
        f"\n\n{metrics_table(evaluation)}\n\n{reliability(evaluation)}\n\n"
        "Limits: it knows only surfaces like those it was trained on. It answers for any other "
        "picture all the same, and flags it as novel.\n"
    )
