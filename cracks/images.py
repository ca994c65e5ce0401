"""Decode images in memory: checked before they cost anything, refused with a reason in words."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cracks.digests import digest_of_bytes
from cracks.errors import UnreadableImage

Pixels = npt.NDArray[np.uint8]

#: Formats that are decoded at all; anything else is refused unopened.
FORMATS = ("JPEG", "PNG")

#: More pixels than any camera in use has; more would only be a decompression bomb.
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class PatchFacts:
    """What the manifest says about one patch."""

    id: str  # SHA-256 of the file
    width: int
    height: int
    mode: str
    format: str
    size_bytes: int
    brightness: float  # mean grey value, 0 to 255
    contrast: float  # standard deviation of the grey values
    sharpness: float  # variance of the Laplacian


def decode(content: bytes) -> tuple[Pixels, dict[str, Any]]:
    """Return an image as uint8 RGB (height, width, 3), and its mode, format, width and height.

    Raises:
        UnreadableImage: it is empty, no JPEG or PNG, too large, or cut short.
    """
    if not content:
        raise UnreadableImage("empty file")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImage(f"too many pixels: {image.width}×{image.height}")
        facts = {
            "mode": image.mode,
            "format": image.format or "",
            "width": image.width,
            "height": image.height,
        }
        return np.asarray(image.convert("RGB")), facts
    except UnidentifiedImageError:
        raise UnreadableImage("not a JPEG or PNG image") from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UnreadableImage(f"damaged image: {error}") from None


def inspect_patch(content: bytes, size: int) -> PatchFacts:
    """Return the facts about one patch file that must be `size` × `size` pixels.

    Raises:
        UnreadableImage: it does not decode, or has another size.
    """
    pixels, facts = decode(content)
    if (facts["width"], facts["height"]) != (size, size):
        raise UnreadableImage(
            f"wrong size: {facts['width']}×{facts['height']}, not {size}×{size} pixels"
        )
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)
    return PatchFacts(
        id=digest_of_bytes(content),
        size_bytes=len(content),
        brightness=round(float(grey.mean()), 3),
        contrast=round(float(grey.std()), 3),
        sharpness=round(laplacian_variance(grey), 3),
        **facts,
    )


def laplacian_variance(grey: npt.NDArray[np.float32]) -> float:
    """Return the variance of the four-neighbour Laplacian of a float32 (height, width) image.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    centre = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * centre).var())


def decode_to_size(content: bytes, size: int) -> Pixels:
    """Return an image as uint8 RGB (size, size, 3), resampled where it has another size.

    Raises:
        UnreadableImage: it does not decode.
    """
    pixels, _ = decode(content)
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
