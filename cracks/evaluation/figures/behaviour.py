"""Draw how a classifier behaves: rates of tests, changed patches, where it looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cracks.dataset.figures import (
    CLEAN_COLOUR,
    CRACK_COLOUR,
    new_figure,
    new_grid,
    save,
    show,
)
from cracks.evaluation.metrics import Scores
from cracks.evaluation.occlusion import Maps
from cracks.images.decode import Pixels
from cracks.images.perturbations import UNDISTURBED, perturbed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What each kind of test is the share of, in words for a figure.
_HEADINGS: Final[Mapping[str, str]] = {
    "same answer": "Same prediction as undisturbed",
    "raised score": "Clean patches whose score rises",
    "called crack": "Clean patches then called cracked",
    "accuracy": "Accuracy",
    "crack recall": "Crack recall",
}

#: Heat is drawn at its strongest from this many log-odds on, or the greatest of the patch.
_LEAST_FULL_HEAT: Final = 2.0


def draw_behaviour(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the rate of each test of `rows_of_scores` with its interval, as `behaviour.png`."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    lines = len(rows) + 2 * len(kinds)
    figure, axis = new_figure(1, 1, (8, 0.24 * lines + 1))
    ticks: list[tuple[float, str]] = []
    place = 0.0
    for kind in kinds:
        ticks.append((place, f"{_HEADINGS.get(kind, kind)}:"))
        for row in (row for row in rows if row["kind"] == kind):
            place += 1
            ticks.append((place, f"{row['test']} (n = {row['patches']:,})"))
            _draw_rate(axis, place, row)
        place += 1.8
    axis.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
    for label, (_, text) in zip(axis.get_yticklabels(), ticks, strict=True):
        label.set_fontweight("bold" if text.endswith(":") else "normal")
    lowest = min(row["low"] for row in rows)
    axis.set(xlim=(max(0.0, lowest - 0.05), 1.01), ylim=(place - 0.8, -1))
    axis.set(xlabel="share of patches, with its interval", title="Behaviour on changed patches")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    save(figure, folder / "behaviour.png")


def draw_perturbations(
    patches: Sequence[Pixels],
    ids: Sequence[str],
    scores: Mapping[str, Scores],
    threshold: float,
    folder: Path,
) -> None:
    """Draw each patch in all its variants with the scores, as `perturbations.png`.

    Each of the (n,) patches, uint8 RGB (size, size, 3), gets a row of the figure; `scores` is what
    `cracks.evaluation.behaviour_tests.scores_of_variants` gave for them.
    """
    title = f"Changed patches and their scores (threshold {threshold:.3f}; orange: other label)"
    figure, axes = new_grid(max(1, len(patches)), len(scores), title)
    for i, (pixels, id_) in enumerate(zip(patches, ids, strict=True)):
        plain = scores[UNDISTURBED][i] >= threshold
        for axis, name in zip(axes[i * len(scores) :], scores, strict=False):
            score = scores[name][i]
            if np.isnan(score):
                continue
            show(axis, perturbed(pixels, name, id_), f"{name}\n{score:.3f}")
            if (score >= threshold) != plain:
                axis.title.set(color=CRACK_COLOUR, fontweight="bold")
    save(figure, folder / "perturbations.png")


def draw_occlusion(
    patches: Pixels,
    maps: Maps,
    window: int,
    scores: Scores,
    labels: Sequence[str],
    folder: Path,
) -> None:
    """Draw which places of each patch its score hangs on, below the patch, as `occlusion.png`.

    The numbers are the score, and the strongest fall and rise of the log-odds over all places.

    Args:
        patches: uint8 RGB (n, size, size, 3).
        maps: what `cracks.evaluation.occlusion.occlusion_maps` gave, float32 (n, rows, columns).
        window: side of the square that was covered, in pixels.
        scores: float64 (n,), of the patches as they are.
        labels: (n,) the true labels.
        folder: to draw into.
    """
    columns = min(6, max(1, len(patches)))
    title = "Log-odds of a crack with one place covered (orange: they fall, blue: they rise)"
    figure, axes = new_grid(2 * max(1, math.ceil(len(patches) / columns)), columns, title)
    for i, (pixels, heat) in enumerate(zip(patches, maps, strict=True)):
        above = 2 * columns * (i // columns) + i % columns
        show(axes[above], pixels, labels[i])
        changes = f"−{max(heat.max(), 0):.1f} / +{max(-heat.min(), 0):.1f}"
        show(axes[above + columns], _grey(pixels), f"{scores[i]:.3f}  ({changes})")
        _draw_heat(axes[above + columns], heat, window, len(pixels))
    save(figure, folder / "occlusion.png")


def _draw_rate(axis: Axes, place: float, row: Mapping[str, Any]) -> None:
    colour = CRACK_COLOUR if row["test"] != UNDISTURBED else CLEAN_COLOUR
    axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=2, alpha=0.5)
    axis.plot([row["rate"]], [place], "o", color=colour, ms=5)
    text = f"{row['rate']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
    beside = ("axes fraction", "data")
    axis.annotate(text, (1.015, place), xycoords=beside, va="center", size=8, annotation_clip=False)


def _grey(pixels: Pixels) -> Pixels:
    return np.repeat(pixels.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)


def _draw_heat(axis: Axes, heat: npt.NDArray[np.float32], window: int, size: int) -> None:
    from matplotlib.colors import to_rgb

    spread = _over_pixels(heat, window, size)
    strength = np.clip(np.abs(spread) / max(_LEAST_FULL_HEAT, np.abs(heat).max()), 0, 1)
    colour = np.where(spread[..., None] > 0, to_rgb(CRACK_COLOUR), to_rgb(CLEAN_COLOUR))
    axis.imshow(np.concatenate([colour, 0.85 * strength[..., None]], axis=2))


def _over_pixels(
    heat: npt.NDArray[np.float32], window: int, size: int
) -> npt.NDArray[np.floating[Any]]:
    # A number of the map belongs to the middle of a covered square; between middles it fades over.
    middles = np.linspace(window / 2, size - window / 2, len(heat))
    pixels = np.arange(size) + 0.5
    rows = np.stack([np.interp(pixels, middles, column) for column in heat.T], axis=1)
    return np.stack([np.interp(pixels, middles, row) for row in rows])
