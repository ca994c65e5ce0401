"""Draw scored patches: the worst mistakes, the least certain predictions, likely label errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cracks.dataset.figures import new_grid, save, show
from cracks.dataset.labels import LABELS
from cracks.evaluation.label_errors import suspects
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
    """Draw the most suspicious of `rows_to_review` among as many others, as `label_errors.png`."""
    shown = {row["id"] for row in suspects(rows)[: count // 2]}
    others = [row["id"] for row in rows if row["suspected"] == "no"]
    shown.update(others[: len(shown)])
    captions = {row["id"]: f"{row['label']}?" for row in rows if row["id"] in shown}
    title = f"Are these labels right? Half of them are doubted ({len(captions)} of {len(rows):,})"
    title = title if captions else "No label is doubted"
    _draw(captions, pictures, title, folder / "label_errors.png")


def _draw(captions: Mapping[str, str], pictures: Pictures, title: str, file: Path) -> None:
    """Draw patches in rows, each with its caption, by id."""
    figure, axes = new_grid(max(1, math.ceil(len(captions) / COLUMNS)), COLUMNS, title)
    shown = zip(axes, pictures(list(captions)), captions.values(), strict=False)
    for axis, pixels, caption in shown:
        show(axis, pixels, caption)
    save(figure, file)
