"""Cut a photograph of any size into overlapping patches of the size that the network knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt

from cracks.images.decode import Pixels


@dataclass(frozen=True)
class Tiling:
    """Where the patches of a photograph lie, row by row.

    They are spread evenly, the last row and column end at the border, and neighbours share
    `overlap` of their side at least: so every pixel is in a patch. A photograph that is smaller
    than a patch is mirrored at its right and lower border until it fills one. That keeps its
    scale, which resampling would not, and a mirrored surface has no edge that looks like a crack.
    """

    width: int  # of the photograph, in pixels
    height: int
    size: int  # of a patch
    overlap: float  # 0 to `overlap.MAX_OVERLAP`

    def __len__(self) -> int:
        return _count(self.width, self.size, self.overlap) * _count(
            self.height, self.size, self.overlap
        )

    @cached_property
    def boxes(self) -> npt.NDArray[np.int64]:
        """x, y, width and height of what each patch shows of the photograph, (n, 4)."""
        x, y = np.meshgrid(
            _starts(self.width, self.size, self.overlap),
            _starts(self.height, self.size, self.overlap),
        )
        sides = np.broadcast_to(
            [min(self.size, self.width), min(self.size, self.height)], (x.size, 2)
        )
        return np.column_stack([x.ravel(), y.ravel(), sides])

    def batches(self, pixels: Pixels, count: int) -> Iterator[Pixels]:
        """Yield the patches of a photograph, uint8 (at most count, size, size, 3), in order.

        Only the patches of one batch are copied at a time.

        Args:
            pixels: uint8 (height, width, 3).
            count: patches of a batch.
        """
        for start in range(0, len(self.boxes), count):
            yield np.stack([self._patch(pixels, *box) for box in self.boxes[start : start + count]])

    def _patch(self, pixels: Pixels, x: int, y: int, width: int, height: int) -> Pixels:
        patch = pixels[y : y + height, x : x + width]
        if (width, height) == (self.size, self.size):
            return patch
        missing = ((0, self.size - height), (0, self.size - width), (0, 0))
        return np.pad(patch, missing, mode="symmetric")


def _count(length: int, size: int, overlap: float) -> int:
    step = max(1, int(size * (1 - overlap)))
    return ceil(max(0, length - size) / step) + 1


def _starts(length: int, size: int, overlap: float) -> npt.NDArray[np.int64]:
    places = np.linspace(0, max(0, length - size), _count(length, size, overlap))
    return places.round().astype(np.int64)
