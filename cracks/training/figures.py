"""Draw a training: its curves, its layers, how patches are varied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.figures import CLEAN_COLOUR, CRACK_COLOUR, new_figure, new_grid, save, show
from cracks.dataset.shards import contents_of
from cracks.images.decode import Pixels, decode_to_size
from cracks.workspace.params import AugmentParams, Params

#: The curves of a training: name, prefix in the history, colour.
CURVES = (("train", "", CLEAN_COLOUR), ("validation", "val_", CRACK_COLOUR))


def draw_augmentation(
    manifest: pa.Table,
    images: Path,
    params: Params,
    augment: Callable[[Pixels, AugmentParams, npt.NDArray[np.int32]], Any],
    path: Path,
) -> None:
    """Draw three patches, each as it is and five times varied, as `augmentation.png`."""
    figure, axes = new_grid(3, 6, "Augmentation")
    picked = np.linspace(0, len(manifest) - 1, 3).astype(int)
    size = params.featurize.image_size
    contents = contents_of(manifest.take(pa.array(picked)), images)
    originals = np.stack([decode_to_size(content, size) for content in contents])
    columns = [originals] + [
        np.asarray(augment(originals, params.train.augment, np.array([1, i], np.int32)))
        for i in range(5)
    ]
    for column, batch in enumerate(columns):
        for row, pixels in enumerate(batch):
            show(
                axes[row * 6 + column], pixels.astype(np.uint8), "varied" if column else "as it is"
            )
    save(figure, path / "augmentation.png")


def draw_learning_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy per epoch, as `learning_curves.png`."""
    figure, (left, right) = new_figure(1, 2, (10, 4))
    epochs = [row["epoch"] for row in history]
    for axis, name in ((left, "loss"), (right, "accuracy")):
        for label, prefix, colour in CURVES:
            values = [row[prefix + name] for row in history]
            axis.plot(epochs, values, "o-", ms=3, color=colour, label=label)
        axis.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} per epoch")
        axis.legend()
        axis.grid(alpha=0.3)
    left.set_yscale("log")
    save(figure, path / "learning_curves.png")


def draw_layers(
    frozen: Sequence[tuple[str, str, str, int]],
    trained: Sequence[tuple[str, str, str, int]],
    path: Path,
) -> None:
    """Draw the layers of both halves from input to score, as `layers.png`.

    Each layer is (name, kind, output shape, number of parameters).
    """
    rows = [(*layer, "#DDDDDD") for layer in frozen] + [(*layer, "#CCE5F6") for layer in trained]
    figure, axis = new_figure(1, 1, (7, 0.5 * len(rows) + 1))
    for i, (name, kind, shape, parameters, colour) in enumerate(rows):
        text = f"{name} · {kind} · {shape} · {parameters:,} parameters"
        axis.text(
            0.5,
            -i,
            text,
            ha="center",
            va="center",
            size=9,
            bbox={"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "#888888"},
        )
        if i:
            arrow = {"arrowstyle": "->", "color": "#888888"}
            axis.annotate("", (0.5, -i + 0.3), (0.5, -i + 0.7), arrowprops=arrow)
    axis.set(
        xlim=(0, 1), ylim=(-len(rows) + 0.4, 0.6), title="Layers (grey: frozen, blue: trained)"
    )
    axis.axis("off")
    save(figure, path / "layers.png")
