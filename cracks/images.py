"""Decode images in memory: checked before they cost anything, refused with a reason in words."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cracks.errors import UnreadableImage

Pixels = npt.NDArray[np.uint8]

#: Formats that are decoded at all; anything else is refused unopened.
FORMATS = ("JPEG", "PNG")

#: The EXIF tag that says how a camera was held; 1 is upright.
ORIENTATION = 0x0112

#: More pixels than any camera in use has; more would only be a decompression bomb.
MAX_PIXELS = 50_000_000


def decode(content: bytes, size: int = 0) -> tuple[Pixels, dict[str, Any]]:
    """Return an image as uint8 RGB (height, width, 3), and what its file says of it.

    That is its mode, format, width, height, and EXIF orientation (1 where there is none).

    Args:
        content: the file.
        size: width and height that it must have; 0 allows every size.

    Raises:
        UnreadableImage: it is empty, no JPEG or PNG, of another size, too large, or cut short.
    """
    if not content:
        raise UnreadableImage("empty file")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImage(f"too many pixels: {image.width}×{image.height}")
        if size and image.size != (size, size):
            raise UnreadableImage(
                f"wrong size: {image.width}×{image.height}, not {size}×{size} pixels"
            )
        facts = {
            "mode": image.mode,
            "format": image.format or "",
            "width": image.width,
            "height": image.height,
            "orientation": _orientation(image),
        }
        image.load()
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), facts
    except UnidentifiedImageError:
        raise UnreadableImage("not a JPEG or PNG image") from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels") from None
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow raises anything, AssertionError too, on damaged files
        raise UnreadableImage(f"damaged image: {str(error) or type(error).__name__}") from None


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 0 <= value <= 255 else 0


def decode_to_size(content: bytes, size: int) -> Pixels:
    """Return an image as uint8 RGB (size, size, 3), resampled where it has another size.

    Raises:
        UnreadableImage: it does not decode.
    """
    return resampled(decode(content)[0], size)


def decode_stored(content: bytes, size: int = 0) -> Pixels:
    """Return a patch that `decode` has accepted before as the same uint8 RGB pixels, but faster.

    OpenCV takes many a damaged file for a whole one, so files that nobody has looked at are for
    `decode`; it does the rest, too, where OpenCV is missing.

    Args:
        content: the file.
        size: width and height that it is resampled to; 0 leaves it as it is.

    Raises:
        UnreadableImage: it does not decode.
    """
    pixels = _by_opencv(content) if _is_plain_jpeg(content) else None
    if pixels is None:
        pixels, _ = decode(content)
    return resampled(pixels, size) if size else pixels


def _is_plain_jpeg(content: bytes) -> bool:
    """Return whether a file is a JPEG with one or three channels: CMYK is no standard's matter."""
    try:
        return Image.open(io.BytesIO(content), formats=("JPEG",)).mode in ("L", "RGB")
    except Exception:  # `decode` says what is wrong with it
        return False


def _by_opencv(content: bytes) -> Pixels | None:
    try:
        import cv2
    except ImportError:
        return None
    as_decode_does = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels: Pixels | None = cv2.imdecode(np.frombuffer(content, np.uint8), as_decode_does)
    return pixels


def resampled(pixels: Pixels, size: int) -> Pixels:
    """Return uint8 RGB pixels as (size, size, 3)."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
