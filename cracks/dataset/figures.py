"""Draw the data: examples, look-alikes of a split, patches that break an expectation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.canvas import new_grid, pixels_of, save, show
from cracks.dataset.fingerprints import NearCopies
from cracks.dataset.labels import LABELS

EXAMPLES_PER_LABEL = 12


def draw_examples(manifest: pa.Table, images: Path, path: Path) -> None:
    """Draw patches of both labels, evenly picked from the manifest, as `examples.png`.

    Args:
        manifest: the columns label, shard, row and width.
        images: folder of shards.
        path: folder to draw into.
    """
    figure, axes = new_grid(4, EXAMPLES_PER_LABEL // 2, "Examples from the data set")
    position = 0
    for label in LABELS:
        rows = manifest.filter(pc.equal(manifest["label"], label))
        picked = np.linspace(0, len(rows) - 1, min(EXAMPLES_PER_LABEL, len(rows))).astype(int)
        for i, pixels in enumerate(pixels_of(rows.take(pa.array(picked)), images)):
            show(axes[position + i], pixels, label)
        position += EXAMPLES_PER_LABEL
    save(figure, path / "examples.png")


def draw_nearest_pairs(
    patches: pa.Table, images: Path, found: Mapping[str, NearCopies], path: Path
) -> None:
    """Draw pairs of a test patch above a train patch, a band for each way to split.

    Args:
        patches: rows of the manifest that the pairs point to.
        images: folder of shards.
        found: the pairs by the name of the split.
        path: folder to draw `nearest_pairs.png` into.
    """
    columns = max(1, *(len(near.pairs) for near in found.values()))
    title = "The test patches nearest to train, and what they are near to (distance in grey values)"
    figure, axes = new_grid(2 * len(found), columns, title)
    for band, (name, near) in enumerate(found.items()):
        for side, split in enumerate(("test", "train")):
            start = (2 * band + side) * columns
            rows = patches.take(pa.array(near.pairs[:, side]))
            for i, pixels in enumerate(pixels_of(rows, images)):
                caption = f"{name}\n{split}" if not i else split
                show(axes[start + i], pixels, f"{caption} {near.distances[i]:.2f}")
    save(figure, path / "nearest_pairs.png")


def draw_contact_sheet(rows: pa.Table, images: Path, title: str, file: Path) -> None:
    """Draw every patch of `rows`, which are of the manifest, with its path."""
    figure, axes = new_grid(max(1, math.ceil(len(rows) / 6)), 6, title)
    paths = rows["path"].to_pylist()
    for axis, path, pixels in zip(axes, paths, pixels_of(rows, images), strict=False):
        show(axis, pixels, path if len(path) < 24 else f"…{path[-22:]}")
    save(figure, file)
