"""Draw the data as PNG files; what all figures share stands first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.fingerprints import NearCopies
from cracks.dataset.labels import CRACK, LABELS, NO_CRACK
from cracks.dataset.shards import contents_of
from cracks.images.decode import Pixels, decode_stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Blue and vermilion of Okabe and Ito (2008), which colour-blind people tell apart.
CLEAN_COLOUR, CRACK_COLOUR = "#0072B2", "#D55E00"


def pixels_of(rows: pa.Table, images: Path) -> list[Pixels]:
    """Return the pictures of rows of the manifest, each uint8 RGB of its own size."""
    return [decode_stored(content) for content in contents_of(rows, images)]


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """Return a figure of `size` inches, and its axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["font.size"] = 9
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns)


def new_grid(rows: int, columns: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure for pictures, and its axes row by row; unused ones stay white."""
    figure, axes = new_figure(rows, columns, (1.5 * columns, 1.7 * rows + 0.4))
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(title)
    return figure, list(axes.flat)


def show(axis: Axes, pixels: Pixels, caption: str) -> None:
    """Show a picture; a caption that is a label has the label's colour."""
    colours = {CRACK: CRACK_COLOUR, NO_CRACK: CLEAN_COLOUR}
    axis.imshow(pixels)
    # With its place given, the caption need not be fitted to ticks that nobody sees.
    axis.set_title(caption, size=8, color=colours.get(caption, "black"), y=1)


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of the library the same data gives the same bytes for longer.
    figure.savefig(path, metadata={"Software": None})


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
