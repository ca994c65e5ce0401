"""What the figures share: PNG files that open anywhere, in MLflow and Prefect too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cracks.dataset.labels import CRACK, NO_CRACK
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
