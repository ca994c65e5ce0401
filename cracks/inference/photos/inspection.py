"""Inspect a whole photograph: where the cracks are, and how much of its area they touch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.images.decode import Pixels
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.bundle.classifier import BATCH_SIZE, Measured
from cracks.inference.photos.heat_map import HeatMap, heat_map
from cracks.inference.photos.overlap import OVERLAP
from cracks.inference.photos.regions import connected_regions
from cracks.inference.photos.tiling import Tiling
from cracks.system.console import Advance

#: Digits of a score and of a novelty, as in every prediction; and of a share and of a length.
SCORE_DIGITS, NOVELTY_DIGITS, SHARE_DIGITS, LENGTH_DIGITS = 6, 4, 6, 2


class Measures(Protocol):
    """Anything that measures patches, as `Classifier` does."""

    @property
    def bundle(self) -> Bundle:
        """The bundle that is in use."""

    def measure_pixels(self, batches: Iterable[Pixels]) -> Measured:
        """Return what the network computes for all batches, in order."""


@dataclass(frozen=True)
class PhotoInspection:
    """What the classifier predicts for a photograph."""

    tiling: Tiling
    threshold: float
    measured: Measured  # of the tiles
    heat: HeatMap
    mm_per_px: float | None = None

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The calibrated scores of the tiles, (n,)."""
        return self.measured.scores

    @property
    def novelty(self) -> npt.NDArray[np.float64] | None:
        """How unlike the training data the tiles are, (n,); above 1 they are novel."""
        return self.measured.novelty

    @property
    def score(self) -> float:
        """The highest score of a tile."""
        return float(self.scores.max())

    @property
    def label(self) -> str:
        """`crack` if any tile is one."""
        return CRACK if self.score >= self.threshold else NO_CRACK

    @property
    def novel_share(self) -> float | None:
        """The share of tiles that are unlike the training data."""
        return None if self.novelty is None else float((self.novelty > 1).mean())

    @property
    def novel(self) -> bool | None:
        """Whether most tiles are unlike the training data: do not trust the label."""
        return None if self.novel_share is None else self.novel_share > 0.5

    @property
    def crack_area_cm2(self) -> float | None:
        """The cracked area in cm²; None where the scale is not known."""
        if self.mm_per_px is None:
            return None
        pixels = self.heat.crack_share * self.tiling.width * self.tiling.height
        return pixels * self.mm_per_px**2 / 100

    @cached_property
    def regions(self) -> list[dict[str, Any]]:
        """The cracked regions with their boxes in pixels, the highest score first."""
        found = [self._region(*box) for box in connected_regions(self.heat.cracked)]
        return sorted(found, key=lambda region: -region["score"])

    def tiles(self) -> list[dict[str, Any]]:
        """Return the tiles, row by row, each with its box in pixels and its prediction."""
        novelty = [None] * len(self.scores) if self.novelty is None else self.novelty.tolist()
        return [
            {
                "x": x,
                "y": y,
                "width": width,
                "height": height,
                "score": round(score, SCORE_DIGITS),
                "label": CRACK if score >= self.threshold else NO_CRACK,
                "novelty": _rounded(distance, NOVELTY_DIGITS),
                "novel": None if distance is None else distance > 1,
            }
            for (x, y, width, height), score, distance in zip(
                self.tiling.boxes.tolist(), self.scores.tolist(), novelty, strict=True
            )
        ]

    def summary(self) -> dict[str, Any]:
        """Return the prediction for the photograph as a whole."""
        return {
            "width": self.tiling.width,
            "height": self.tiling.height,
            "tile_size": self.tiling.size,
            "overlap": self.tiling.overlap,
            "label": self.label,
            "score": round(self.score, SCORE_DIGITS),
            "threshold": self.threshold,
            "novel_share": _rounded(self.novel_share, SHARE_DIGITS),
            "novel": self.novel,
            "crack_share": round(self.heat.crack_share, SHARE_DIGITS),
            "mm_per_px": self.mm_per_px,
            "crack_area_cm2": _rounded(self.crack_area_cm2, LENGTH_DIGITS),
        }

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values: the summary, the tiles and the regions."""
        return self.summary() | {"tiles": self.tiles(), "regions": self.regions}

    def _region(self, top: int, left: int, bottom: int, right: int) -> dict[str, Any]:
        cell, tiling = self.heat.cell, self.tiling
        x, y = left * cell, top * cell
        width, height = min(right * cell, tiling.width) - x, min(bottom * cell, tiling.height) - y
        touching = self._cracked_tiles_in(x, y, x + width, y + height)
        return {
            "x": x,
            "y": y,
            "width": width,
            "height": height,
            "score": round(float(self.scores[touching].max(initial=0)), SCORE_DIGITS),
            "tiles": int(touching.sum()),
            "width_mm": self._millimetres(width),
            "height_mm": self._millimetres(height),
        }

    def _cracked_tiles_in(
        self, left: int, top: int, right: int, bottom: int
    ) -> npt.NDArray[np.bool_]:
        x, y, width, height = self.tiling.boxes.T
        inside = (x < right) & (x + width > left) & (y < bottom) & (y + height > top)
        return np.asarray(inside & (self.scores >= self.threshold))

    def _millimetres(self, pixels: int) -> float | None:
        return _rounded(self.mm_per_px and pixels * self.mm_per_px, LENGTH_DIGITS)


def inspect_photo(
    classifier: Measures,
    pixels: Pixels,
    overlap: float = OVERLAP,
    mm_per_px: float | None = None,
    advance: Advance = lambda _: None,
) -> PhotoInspection:
    """Predict a photograph, patch by patch.

    Args:
        classifier: the model.
        pixels: uint8 RGB (height, width, 3), upright.
        overlap: share of a patch's side that neighbours have in common, 0 to `MAX_OVERLAP`.
        mm_per_px: how many millimetres of the surface a pixel shows; None: not known.
        advance: called with the number of patches done; what it raises ends the inspection.
    """
    height, width = pixels.shape[:2]
    tiling = Tiling(width, height, classifier.bundle.content.patch_size, overlap)
    threshold = classifier.bundle.content.threshold

    def batches() -> Iterator[Pixels]:
        for batch in tiling.batches(pixels, BATCH_SIZE):
            yield batch
            advance(len(batch))

    measured = classifier.measure_pixels(batches())
    return PhotoInspection(
        tiling=tiling,
        threshold=threshold,
        measured=measured,
        heat=heat_map(tiling, measured.scores, threshold),
        mm_per_px=mm_per_px,
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
