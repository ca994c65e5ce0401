"""Describe a model version in words that a person reads in the registry."""

from __future__ import annotations

from cracks.gate import Decision
from cracks.reports import Report

SHOWN = ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier")


def metrics_table(evaluation: Report) -> str:
    """Return the metrics of validation and test as a Markdown table."""
    head = "| metric | validation | test |\n|---|---|---|\n"
    lines = [
        f"| {name} | {evaluation['validation'][name]:.4f} | {evaluation['test'][name]:.4f} |"
        for name in SHOWN
    ]
    return head + "\n".join(lines)


def describe_version(evaluation: Report, decision: Decision, ingested: Report) -> str:
    """Return the Markdown description of an accepted version."""
    return (
        f"Answers `crack` or `no crack` for a patch of concrete. Accepted: "
        f"{'; '.join(decision.reasons)}.\n\n"
        f"Trained on {ingested['distinct_patches']:,} distinct patches from "
        f"`{ingested['source']}`; threshold {evaluation['threshold']:.4f}, chosen on validation."
        f"\n\n{metrics_table(evaluation)}\n\n"
        "Limits: it knows only surfaces like those it was trained on, and answers for any other "
        "picture all the same.\n"
    )
