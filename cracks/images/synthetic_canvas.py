"""What drawn pictures are made of: smooth noise, light from one side, lines, blobs and dots."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

PATCH_SIZE: Final = 227

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Rng = np.random.Generator
Size = tuple[int, int]  # height and width in pixels

#: The size of one patch.
SQUARE: Final = (PATCH_SIZE, PATCH_SIZE)

_FINE = 2  # lines are drawn this many times larger and averaged down, or hairlines turn to steps


def noise(rng: Rng, cells: int, rows: int | None = None, size: Size = SQUARE) -> Field:
    """Return smooth noise, float32 of `size`, of so many cells to the side of a patch.

    Args:
        rng: decides on the values.
        cells: to the right, and down unless `rows` says otherwise.
        rows: down.
        size: height and width in pixels.
    """
    height, width = size
    down, right = round((rows or cells) * height / PATCH_SIZE), round(cells * width / PATCH_SIZE)
    grid = rng.standard_normal((down, right), np.float32)
    fitted = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fitted, np.float32)


def relief(rng: Rng, height: Field, reach: float) -> Field:
    """Return what light from one side makes of a surface: bright slopes towards it, dark behind."""
    angle = rng.uniform(0, 2 * np.pi)
    return height - shifted(height, reach * np.cos(angle), reach * np.sin(angle))


def shifted(field: Field, right: float, down: float) -> Field:
    """Return the field moved by a part of a pixel or more; its border is repeated."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(field, matrix, field.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def across(angle: float, offset: float, size: Size) -> Field:
    """Return the signed distance in pixels from a straight line `offset` from the centre."""
    down, right = (np.arange(length, dtype=np.float32) - np.float32(length / 2) for length in size)
    return np.asarray(right * np.cos(angle) + (down * np.sin(angle))[:, None] - offset, np.float32)


def any_line(rng: Rng, size: Size) -> Field:
    """Return the signed distance in pixels from a straight line somewhere in the picture."""
    angle = rng.uniform(0, 2 * np.pi)
    extent = abs(np.sin(angle)) * size[0] + abs(np.cos(angle)) * size[1]
    return across(angle, rng.uniform(-0.36, 0.36) * extent, size)


def ramp(distance: npt.NDArray[np.floating], softness: float) -> Field:
    """Return 0 to 1: which side of a line a pixel lies on, with a border of `softness` pixels."""
    return np.asarray(np.clip(distance / np.float32(softness) + 0.5, 0, 1), np.float32)


def blank(size: Size) -> Pixels:
    """Return an enlarged black canvas for lines and dots: uint8."""
    return np.zeros((size[0] * _FINE, size[1] * _FINE), np.uint8)


def fixed(points: Points) -> npt.NDArray[np.int32]:
    """Return corners as OpenCV wants them: in sixteenths of a pixel of the enlarged canvas."""
    return np.round(points * _FINE * 16).astype(np.int32)


def averaged(canvas: Pixels) -> Field:
    """Return the enlarged canvas at its own size, float32 in 0 to 1."""
    height, width = (length // _FINE for length in canvas.shape)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)
