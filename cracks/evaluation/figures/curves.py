"""Draw an evaluation: confusion, curves, slices, novelty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cracks.dataset.figures import (
    CLEAN_COLOUR,
    CRACK_COLOUR,
    new_figure,
    new_grid,
    save,
    show,
)
from cracks.dataset.labels import LABELS
from cracks.evaluation.figures.patches import Pictures
from cracks.evaluation.metrics import Curves, Scored, Scores

#: Patches that are shown of those furthest from the training data.
FURTHEST = 12


def draw_evaluation(tables: Curves, scored: Scored, path: Path) -> None:
    """Draw the confusion matrix, the ROC and PR curves and the calibration on test.

    The tables are those that `cracks.evaluation.metrics.curves` made of the same patches.
    """
    _draw_confusion(scored, path)
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
    _draw_calibration(tables["calibration"], tables["calibration_before"], path)


def draw_slices(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw accuracy and crack recall of the slices of `slice_rows`, with their intervals."""
    figure, axes = new_figure(1, 2, (10, 0.32 * len(rows) + 1.4))
    places = list(range(len(rows)))
    columns = (("accuracy", CLEAN_COLOUR), ("crack_recall", CRACK_COLOUR))
    for axis, (name, colour) in zip(axes, columns, strict=True):
        measured = [i for i in places if rows[i][name] is not None]
        rates, low, high = (
            np.array([rows[i][f"{name}{end}"] for i in measured]) for end in ("", "_low", "_high")
        )
        reach = [rates - low, high - rates]
        axis.errorbar(rates, measured, xerr=reach, fmt="o", color=colour, capsize=3)
        title = f"{name.replace('_', ' ')} with its 95 % interval"
        axis.set(ylim=(len(rows) - 0.5, -0.5), title=title)
        axis.set_yticks(places, [f"{row['slice']} (n = {row['patches']:,})" for row in rows])
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
        axis.locator_params(axis="x", nbins=5)
        axis.grid(alpha=0.3)
    axes[1].set_yticklabels([])
    save(figure, file)


def draw_novelty(ids: Sequence[str], distances: Scores, pictures: Pictures, path: Path) -> None:
    """Draw how far test lies from the training data, and what lies furthest, as `novelty.png`.

    Above a distance of 1, float (n,), a patch is flagged.
    """
    figure, axes = new_grid(
        3, FURTHEST // 2, "Novelty on test: the distance from the training data"
    )
    for axis in axes[: FURTHEST // 2]:
        axis.remove()
    histogram = figure.add_subplot(3, 1, 1)
    histogram.hist(distances, bins=60, color=CLEAN_COLOUR)
    histogram.axvline(1, color=CRACK_COLOUR)
    flagged = (distances > 1).mean()
    histogram.set(xlabel=f"distance; above 1 a photograph is flagged ({flagged:.2%})", yscale="log")
    furthest = np.argsort(-distances, kind="stable")[:FURTHEST]
    found = pictures([ids[i] for i in furthest])
    for axis, i, pixels in zip(axes[FURTHEST // 2 :], furthest, found, strict=False):
        show(axis, pixels, f"{distances[i]:.2f}")
    save(figure, path / "novelty.png")


def _draw_confusion(scored: Scored, path: Path) -> None:
    from sklearn.metrics import confusion_matrix

    figure, axis = new_figure(1, 1, (4.5, 4))
    counts = confusion_matrix(scored.cracked, scored.called, labels=[False, True])
    axis.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axis.text(column, row, f"{count:,}", ha="center", va="center", color=colour, size=14)
    axis.set_xticks([0, 1], LABELS)
    axis.set_yticks([0, 1], LABELS)
    axis.set(xlabel="predicted", ylabel="actual", title="Confusion matrix on test")
    save(figure, path / "confusion.png")


def _draw_calibration(
    rows: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], path: Path
) -> None:
    figure, axis = new_figure(1, 1, (5, 4.5))
    axis.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    shown = ((before, CLEAN_COLOUR, "as the network gives it"), (rows, CRACK_COLOUR, "calibrated"))
    for bins, colour, label in shown:
        shares = [row["share_of_cracks"] for row in bins]
        axis.plot([row["score"] for row in bins], shares, "o-", color=colour, label=label)
    for row in rows:
        place = (row["score"], row["share_of_cracks"])
        axis.annotate(f"{row['patches']:.0f}", place, (4, -10), textcoords="offset points", size=7)
    axis.set(xlabel="mean score", ylabel="share of cracks", title="Calibration on test (counts)")
    axis.legend()
    axis.grid(alpha=0.3)
    save(figure, path / "calibration.png")
