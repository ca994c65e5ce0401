"""Draw the figures of the stages: PNG files that open anywhere, in MLflow and Prefect too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cracks.fingerprints import NearCopies
from cracks.images import Pixels, decode_to_size
from cracks.labels import CRACK, LABELS, NO_CRACK
from cracks.metrics import Cracked, Curves, Scores, worst_mistakes
from cracks.params import AugmentParams, Params
from cracks.shards import contents_of, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Blue and vermilion of Okabe and Ito (2008), which colour-blind people tell apart.
CLEAN_COLOUR, CRACK_COLOUR = "#0072B2", "#D55E00"

EXAMPLES_PER_LABEL = 12


def draw_examples(manifest: pa.Table, images: Path, path: Path) -> None:
    """Draw patches of both labels, evenly picked from the manifest, as `examples.png`.

    Args:
        manifest: the columns label, shard, row and width.
        images: folder of shards.
        path: folder to draw into.
    """
    figure, axes = _grid(4, EXAMPLES_PER_LABEL // 2, "Examples from the data set")
    position = 0
    for label in LABELS:
        rows = manifest.filter(pc.equal(manifest["label"], label))
        picked = np.linspace(0, len(rows) - 1, min(EXAMPLES_PER_LABEL, len(rows))).astype(int)
        for i, pixels in enumerate(_pixels(rows.take(pa.array(picked)), images)):
            _show(axes[position + i], pixels, label)
        position += EXAMPLES_PER_LABEL
    _save(figure, path / "examples.png")


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
    figure, axes = _grid(2 * len(found), columns, title)
    for band, (name, near) in enumerate(found.items()):
        for side, split in enumerate(("test", "train")):
            start = (2 * band + side) * columns
            rows = patches.take(pa.array(near.pairs[:, side]))
            for i, pixels in enumerate(_pixels(rows, images)):
                caption = f"{name}\n{split}" if not i else split
                _show(axes[start + i], pixels, f"{caption} {near.distances[i]:.2f}")
    _save(figure, path / "nearest_pairs.png")


def draw_contact_sheet(rows: pa.Table, images: Path, title: str, file: Path) -> None:
    """Draw every patch of `rows`, which are of the manifest, with its path."""
    figure, axes = _grid(max(1, math.ceil(len(rows) / 6)), 6, title)
    paths = rows["path"].to_pylist()
    for axis, path, pixels in zip(axes, paths, _pixels(rows, images), strict=False):
        _show(axis, pixels, path if len(path) < 24 else f"…{path[-22:]}")
    _save(figure, file)


def draw_augmentation(
    manifest: pa.Table,
    images: Path,
    params: Params,
    augment: Callable[[Pixels, AugmentParams, npt.NDArray[np.int32]], Any],
    path: Path,
    *,
    applied: bool,
) -> None:
    """Draw three patches, each as it is and five times varied, as `augmentation.png`.

    The title says so if the training does not vary its patches (`applied` is false).
    """
    unused = " (declared, but frozen features are computed once)"
    title = "Augmentation" + ("" if applied else unused)
    figure, axes = _grid(3, 6, title)
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
            _show(
                axes[row * 6 + column], pixels.astype(np.uint8), "varied" if column else "as it is"
            )
    _save(figure, path / "augmentation.png")


def draw_learning_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy per epoch, as `learning_curves.png`."""
    figure, (left, right) = _figure(1, 2, (10, 4))
    epochs = [row["epoch"] for row in history]
    for axis, name in ((left, "loss"), (right, "accuracy")):
        axis.plot(
            epochs, [row[name] for row in history], "o-", ms=3, color=CLEAN_COLOUR, label="train"
        )
        axis.plot(
            epochs,
            [row[f"val_{name}"] for row in history],
            "o-",
            ms=3,
            color=CRACK_COLOUR,
            label="validation",
        )
        axis.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} per epoch")
        axis.legend()
        axis.grid(alpha=0.3)
    left.set_yscale("log")
    _save(figure, path / "learning_curves.png")


def draw_layers(
    frozen: Sequence[tuple[str, str, str, int]],
    trained: Sequence[tuple[str, str, str, int]],
    path: Path,
) -> None:
    """Draw the layers of both halves from input to score, as `layers.png`.

    Each layer is (name, kind, output shape, number of parameters).
    """
    rows = [(*layer, "#DDDDDD") for layer in frozen] + [(*layer, "#CCE5F6") for layer in trained]
    figure, axis = _figure(1, 1, (7, 0.5 * len(rows) + 1))
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
    _save(figure, path / "layers.png")


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
        figure, axis = _figure(1, 1, (5, 4.5))
        rows = tables[name]
        axis.plot([r[x] for r in rows], [r[y] for r in rows], color=CRACK_COLOUR)
        axis.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "), title=title)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
        _save(figure, path / f"{name}.png")
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
    figure, axes = _grid(2, (count + 1) // 2, title if len(worst) else "No mistakes on test")
    rows = rows_of([ids[i] for i in worst], manifest)
    for axis, i, pixels in zip(axes, worst, _pixels(rows, images), strict=False):
        kind = "missed crack" if cracked[i] else "false alarm"
        _show(axis, pixels, f"{kind} {scores[i]:.3f}")
    _save(figure, path / "mistakes.png")


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
    figure, axes = _grid(rows_needed, 6, title if shown else "No likely label errors")
    found = rows_of([row["id"] for row in shown], manifest)
    for axis, row, pixels in zip(axes, shown, _pixels(found, images), strict=False):
        _show(axis, pixels, f"{row['label']}? {row['score']:.3f}")
    _save(figure, path / "label_errors.png")


def _draw_confusion(cracked: Cracked, predicted: Cracked, path: Path) -> None:
    figure, axis = _figure(1, 1, (4.5, 4))
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
    _save(figure, path / "confusion.png")


def _draw_calibration(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure, axis = _figure(1, 1, (5, 4.5))
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
    _save(figure, path / "calibration.png")


def _pixels(rows: pa.Table, images: Path) -> list[Pixels]:
    sizes = rows["width"].to_pylist()
    contents = zip(contents_of(rows, images), sizes, strict=True)
    return [decode_to_size(content, size) for content, size in contents]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["font.size"] = 9
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns)


def _grid(rows: int, columns: int, title: str) -> tuple[Figure, list[Axes]]:
    figure, axes = _figure(rows, columns, (1.5 * columns, 1.7 * rows + 0.4))
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(title)
    return figure, list(axes.flat)


def _show(axis: Axes, pixels: Pixels, caption: str) -> None:
    colours = {CRACK: CRACK_COLOUR, NO_CRACK: CLEAN_COLOUR}
    axis.imshow(pixels)
    axis.set_title(caption, size=8, color=colours.get(caption, "black"))


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of the library the same data gives the same bytes for longer.
    figure.savefig(path, metadata={"Software": None})
