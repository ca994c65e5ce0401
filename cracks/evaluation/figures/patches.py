"""Draw scored patches: the worst mistakes, the least certain predictions, likely label errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cracks.dataset.figures import new_grid, save, show
from cracks.dataset.labels import LABELS
from cracks.evaluation.metrics import Scored, least_certain, worst_mistakes
from cracks.images.decode import Pixels

#: From the ids of patches to their pictures, uint8 RGB (size, size, 3) each.
Pictures = Callable[[Sequence[str]], list[Pixels]]

#: Patches in a row.
COLUMNS = 6


def draw_mistakes(
    ids: Sequence[str], scored: Scored, pictures: Pictures, count: int, folder: Path
) -> None:
    """Draw at most `count` of the worst mistakes on test, as `mistakes.png`."""
    captions = {
        ids[i]: f"{'missed crack' if scored.cracked[i] else 'false alarm'} {scored.scores[i]:.3f}"
        for i in worst_mistakes(scored, count)
    }
    title = f"The worst mistakes on test (threshold {scored.threshold:.3f})"
    _draw(captions, pictures, title if captions else "No mistakes on test", folder / "mistakes.png")


def draw_least_certain(
    ids: Sequence[str], scored: Scored, pictures: Pictures, count: int, folder: Path
) -> None:
    """Draw the patches whose scores lie nearest to the threshold, as `least_certain.png`."""
    captions = {}
    for i in least_certain(scored, count):
        verdict = "" if scored.called[i] == scored.cracked[i] else ", wrong"
        captions[ids[i]] = f"{LABELS[int(scored.cracked[i])]} {scored.scores[i]:.3f}{verdict}"
    title = f"The least certain predictions (threshold {scored.threshold:.3f})"
    _draw(captions, pictures, title, folder / "least_certain.png")


def draw_label_errors(
    rows: Sequence[Mapping[str, Any]], pictures: Pictures, count: int, folder: Path
) -> None:
    """Draw the first of `label_error_rows` with the scores against them, as `label_errors.png`."""
    captions = {row["id"]: f"{row['label']}? {row['score']:.3f}" for row in rows[:count]}
    title = f"Likely label errors: the label and the score ({len(captions)} of {len(rows):,} shown)"
    title = title if captions else "No likely label errors"
    _draw(captions, pictures, title, folder / "label_errors.png")


def _draw(captions: Mapping[str, str], pictures: Pictures, title: str, file: Path) -> None:
    """Draw patches in rows, each with its caption, by id."""
    figure, axes = new_grid(max(1, math.ceil(len(captions) / COLUMNS)), COLUMNS, title)
    shown = zip(axes, pictures(list(captions)), captions.values(), strict=False)
    for axis, pixels, caption in shown:
        show(axis, pixels, caption)
    save(figure, file)
