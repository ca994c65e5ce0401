"""Draw an evaluation: curves, confusion, the worst mistakes, likely label errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cracks.figures.canvas import (
    CRACK_COLOUR,
    new_figure,
    new_grid,
    pixels_of,
    save,
    show,
)
from cracks.labels import LABELS
from cracks.metrics import Cracked, Curves, Scores, worst_mistakes
from cracks.shards import rows_of


def draw_evaluation(tables: Curves, cracked: Cracked, predicted: Cracked, path: Path) -> None:
    """Draw the confusion matrix, the ROC and PR curves and the calibration on test.

    Args:
        tables: what `cracks.metrics.curves` gave.
        cracked: bool (n,), the true labels.
        predicted: bool (n,), the answers.
        path: folder to draw into.
    """
    _draw_confusion(cracked, predicted, path)
    for name, x, y, title in (
        ("roc", "false_alarm_rate", "crack_recall", "ROC curve on test"),
        ("precision_recall", "crack_recall", "precision", "Precision and recall on test"),
    ):
        figure, axis = new_figure(1, 1, (5, 4.5))
        rows = tables[name]
        axis.plot([r[x] for r in rows], [r[y] for r in rows], color=CRACK_COLOUR)
        axis.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "), title=title)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
        save(figure, path / f"{name}.png")
    _draw_calibration(tables["calibration"], path)


def draw_mistakes(
    manifest: pa.Table,
    images: Path,
    ids: list[str],
    answered: tuple[Cracked, Scores, float],
    count: int,
    path: Path,
) -> None:
    """Draw the worst mistakes on test with their scores, as `mistakes.png`.

    Args:
        manifest: finds the pictures.
        images: folder of shards.
        ids: (n,) the patches that were scored.
        answered: their labels (n,), their scores (n,), and the threshold.
        count: how many to draw at most.
        path: folder to draw into.
    """
    cracked, scores, threshold = answered
    worst = worst_mistakes(cracked, scores, threshold, count)
    title = f"The worst mistakes on test (threshold {threshold:.3f})"
    figure, axes = new_grid(2, (count + 1) // 2, title if len(worst) else "No mistakes on test")
    rows = rows_of([ids[i] for i in worst], manifest)
    for axis, i, pixels in zip(axes, worst, pixels_of(rows, images), strict=False):
        kind = "missed crack" if cracked[i] else "false alarm"
        show(axis, pixels, f"{kind} {scores[i]:.3f}")
    save(figure, path / "mistakes.png")


def draw_label_errors(
    rows: Sequence[Mapping[str, Any]], manifest: pa.Table, images: Path, count: int, path: Path
) -> None:
    """Draw the most suspicious labels with the scores against them, as `label_errors.png`.

    Args:
        rows: what `cracks.label_errors.label_error_rows` gave.
        manifest: finds the pictures.
        images: folder of shards.
        count: how many to draw at most.
        path: folder to draw into.
    """
    shown = rows[:count]
    title = f"Likely label errors: the label and the score ({len(shown)} of {len(rows):,} shown)"
    rows_needed = max(1, math.ceil(len(shown) / 6))
    figure, axes = new_grid(rows_needed, 6, title if shown else "No likely label errors")
    found = rows_of([row["id"] for row in shown], manifest)
    for axis, row, pixels in zip(axes, shown, pixels_of(found, images), strict=False):
        show(axis, pixels, f"{row['label']}? {row['score']:.3f}")
    save(figure, path / "label_errors.png")


def _draw_confusion(cracked: Cracked, predicted: Cracked, path: Path) -> None:
    figure, axis = new_figure(1, 1, (4.5, 4))
    counts = np.array(
        [[int((cracked[predicted == p] == c).sum()) for p in (False, True)] for c in (False, True)]
    )
    axis.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axis.text(column, row, f"{count:,}", ha="center", va="center", color=colour, size=14)
    axis.set_xticks([0, 1], LABELS)
    axis.set_yticks([0, 1], LABELS)
    axis.set(xlabel="answered", ylabel="actual", title="Confusion matrix on test")
    save(figure, path / "confusion.png")


def _draw_calibration(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure, axis = new_figure(1, 1, (5, 4.5))
    axis.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    axis.plot(
        [row["score"] for row in rows],
        [row["share_of_cracks"] for row in rows],
        "o-",
        color=CRACK_COLOUR,
        label="this model",
    )
    for row in rows:
        place = (row["score"], row["share_of_cracks"])
        axis.annotate(f"{row['patches']:.0f}", place, (4, -10), textcoords="offset points", size=7)
    axis.set(xlabel="mean score", ylabel="share of cracks", title="Calibration on test (counts)")
    axis.legend()
    axis.grid(alpha=0.3)
    save(figure, path / "calibration.png")
