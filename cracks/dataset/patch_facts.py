"""Look at one patch: whether it can be used at all, and the facts that the manifest keeps of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from cracks.dataset.border_strips import border_strips
from cracks.dataset.fingerprints import REDUCED, fingerprint
from cracks.dataset.shards import contents_of
from cracks.images.decode import Pixels, decode, decode_stored
from cracks.images.exif import exposure

#: Grey values from which on a pixel says nothing more: black or white.
BLACK, WHITE = 2, 253


@dataclass(frozen=True)
class PatchFacts:
    """What the manifest says about one patch."""

    width: int
    height: int
    mode: str
    format: str
    orientation: int  # of EXIF; 1 is upright, 0 is no valid value
    camera: str  # of EXIF; "" where it names none
    exposed: datetime | None  # of EXIF, by the clock of the camera
    size_bytes: int
    bytes_per_pixel: float
    brightness: float  # mean grey value, 0 to 255
    contrast: float  # standard deviation of the grey values
    sharpness: float  # variance of the Laplacian
    red_minus_green: float  # difference of the channels' means
    green_minus_blue: float
    saturated: float  # share of pixels that are black or white
    fingerprint: bytes  # cracks.dataset.fingerprints, int16 (64,)
    borders: bytes  # cracks.dataset.border_strips, int16 (4, 24)


def inspect_patch(content: bytes, size: int) -> PatchFacts:
    """Return the facts about one patch file that must be `size` × `size` pixels.

    Raises:
        UnreadableImage: it does not decode, or has another size.
    """
    pixels, said = decode(content, size)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    brightness, contrast = _mean_and_deviation(grey)
    red, green, blue, _ = cv2.mean(pixels)
    camera, exposed = exposure(content)
    reduced = cv2.resize(grey.astype(np.float32), (REDUCED, REDUCED), interpolation=cv2.INTER_AREA)
    return PatchFacts(
        camera=camera,
        exposed=exposed,
        size_bytes=len(content),
        bytes_per_pixel=round(len(content) / (size * size), 4),
        brightness=round(brightness, 3),
        contrast=round(contrast, 3),
        sharpness=round(laplacian_variance(grey), 3),
        red_minus_green=round(red - green, 3),
        green_minus_blue=round(green - blue, 3),
        saturated=round(1 - cv2.countNonZero(cv2.inRange(grey, BLACK + 1, WHITE - 1)) / size**2, 5),
        fingerprint=fingerprint(reduced).tobytes(),
        borders=border_strips(grey).tobytes(),
        **said,
    )


def reduced_grey(rows: pa.Table, images: Path, side: int) -> list[Pixels]:
    """Return rows of the manifest as grey pictures, uint8 (side, side) each.

    Raises:
        UnreadableImage: one does not decode.
    """

    def reduced(content: bytes) -> Pixels:
        grey = cv2.cvtColor(decode_stored(content), cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(reduced, contents_of(rows, images)))


def laplacian_variance(grey: Pixels) -> float:
    """Return the variance of the four-neighbour Laplacian of a uint8 (height, width) picture.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    _, deviation = _mean_and_deviation(cv2.Laplacian(grey, cv2.CV_16S, ksize=1))
    return deviation**2


def _mean_and_deviation(values: cv2.typing.MatLike) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(deviation[0, 0])
