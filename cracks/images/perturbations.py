"""Change a patch on purpose, in named ways, to see whether a classifier still predicts the same.

Sources: invariance and directional tests are those of Ribeiro, Wu, Guestrin and Singh, "Beyond
Accuracy: Behavioral Testing of NLP Models with CheckList" (ACL 2020), section 2; blur, noise and
contrast as corruptions are those of Hendrycks and Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations" (ICLR 2019), section 4.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from cracks.images.decode import Pixels

#: From uint8 RGB (height, width, 3) to the same; turns exchange height and width.
Change = Callable[[Pixels, np.random.Generator], Pixels]

#: The patch as it is.
UNDISTURBED: Final = "undisturbed"

#: A crack drawn over the patch.
DRAWN_CRACK: Final = "drawn crack"


def perturbed(pixels: Pixels, name: str, patch_id: str) -> Pixels:
    """Return a patch changed in the way that `name` stands for, the same at every call.

    Chance, where a change needs any, comes from the patch's id and the name of the change: it does
    not matter which other patches are changed, nor in which order.

    Args:
        pixels: uint8 RGB (height, width, 3).
        name: `UNDISTURBED`, `DRAWN_CRACK`, or a key of `INVARIANCES` or `CORRUPTIONS`.
        patch_id: names the patch.

    Raises:
        KeyError: no change has this name.
    """
    seed = hashlib.sha256(f"{name}\n{patch_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    return np.ascontiguousarray(_CHANGES[name](pixels, rng))


def _unchanged(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return pixels


def _mirrored(pixels: Pixels, _rng: np.random.Generator, *, axis: int) -> Pixels:
    return np.flip(pixels, axis)


def _turned(pixels: Pixels, _rng: np.random.Generator, *, quarters: int) -> Pixels:
    return np.rot90(pixels, quarters)


def _lit(pixels: Pixels, _rng: np.random.Generator, *, factor: float) -> Pixels:
    return _as_pixels(pixels * factor)


def _compressed(pixels: Pixels, _rng: np.random.Generator, *, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _blurred(pixels: Pixels, _rng: np.random.Generator, *, sigma: float) -> Pixels:
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def _noisy(pixels: Pixels, rng: np.random.Generator, *, deviation: float) -> Pixels:
    return _as_pixels(pixels + rng.normal(0, deviation, pixels.shape))


def _contrasted(pixels: Pixels, _rng: np.random.Generator, *, factor: float) -> Pixels:
    # Around the mean of each colour, so that the concrete keeps its tint.
    mean = pixels.mean(axis=(0, 1))
    return _as_pixels(mean + (pixels - mean) * factor)


def _cracked(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    from cracks.images.synthetic_concrete import draw_crack_on

    return draw_crack_on(pixels, rng)


def _as_pixels(values: npt.NDArray[Any]) -> Pixels:
    return np.asarray(values.round().clip(0, 255), np.uint8)


#: Changes that make no crack and remove none, so that the prediction must stay.
INVARIANCES: Final[Mapping[str, Change]] = {
    "mirrored left to right": partial(_mirrored, axis=1),
    "mirrored top to bottom": partial(_mirrored, axis=0),
    "turned by 90°": partial(_turned, quarters=1),
    "turned by 180°": partial(_turned, quarters=2),
    "turned by 270°": partial(_turned, quarters=3),
    "20 % darker": partial(_lit, factor=0.8),
    "20 % brighter": partial(_lit, factor=1.2),
    "JPEG quality 30": partial(_compressed, quality=30),
}

#: Faults of a camera, which may cost accuracy: sigma in pixels, deviation in grey values.
CORRUPTIONS: Final[Mapping[str, Change]] = {
    "blurred by 1 pixel": partial(_blurred, sigma=1),
    "blurred by 2 pixels": partial(_blurred, sigma=2),
    "noise of 5 grey values": partial(_noisy, deviation=5),
    "noise of 15 grey values": partial(_noisy, deviation=15),
    "contrast × 0.5": partial(_contrasted, factor=0.5),
    "contrast × 1.5": partial(_contrasted, factor=1.5),
}

_CHANGES: Final[Mapping[str, Change]] = {
    UNDISTURBED: _unchanged,
    **INVARIANCES,
    **CORRUPTIONS,
    DRAWN_CRACK: _cracked,
}
