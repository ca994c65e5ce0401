"""Decode images in memory: checked before they are decoded, refused with a reason."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cracks.errors import UnreadableImage, one_line

Pixels = npt.NDArray[np.uint8]

#: Formats of a data set; anything else is refused unopened.
STORED_FORMATS = ("JPEG", "PNG")

#: Formats that are predicted. Of a file of several pictures the first one counts.
FORMATS = (*STORED_FORMATS, "WEBP", "TIFF")

#: How many times the memory of a JPEG a format takes to be decoded; so many fewer pixels it may
#: have. Measured on 100 megapixels: WebP 1.6 GB, progressive JPEG 1 GB, the others 0.8 GB.
COSTS = {"WEBP": 2}

#: The names of the formats in an error message.
NAMES = {"WEBP": "WebP"}

#: The EXIF tag that says how a camera was held; 1 is upright.
ORIENTATION = 0x0112

#: More pixels than a patch ever has; more would only be a decompression bomb.
MAX_PIXELS = 50_000_000

#: Pixels that are turned into an array at a time, so that a photograph is not held three times.
STRIP_PIXELS = 1 << 22

#: Orientations of a camera that lay on its side, so that width and height are exchanged.
LYING = (5, 6, 7, 8)

#: By EXIF orientation, a view of an upright picture in the order in which it is stored.
#: Source: CIPA DC-008, "Exif 2.32", section 4.6.4, tag Orientation.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def decode(
    content: bytes,
    size: int = 0,
    *,
    formats: Sequence[str] = STORED_FORMATS,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Pixels, dict[str, Any]]:
    """Return an image as uint8 RGB (height, width, 3), and what its file says of it.

    That is its mode, format, width, height, and EXIF orientation (1 where there is none).

    Args:
        content: the file.
        size: width and height that it must have; 0 allows every size.
        formats: those that are opened.
        max_pixels: width × height that is decoded at most; see `COSTS`.

    Raises:
        UnreadableImage: it is empty, of no such format, of another size, too large, or cut short.
    """
    with _opened(content, formats, max_pixels) as image:
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
        return _rgb(image), facts


def stored_size(content: bytes, max_pixels: int) -> tuple[int, int]:
    """Return width and height of a photograph as its file holds it, undecoded.

    Raises:
        UnreadableImage: it is empty, none of `FORMATS`, or too large.
    """
    with _opened(content, FORMATS, max_pixels) as image:
        return image.size


def decode_upright(content: bytes, max_pixels: int) -> Pixels:
    """Return a photograph as uint8 RGB (height, width, 3), the way up that it was taken.

    Raises:
        UnreadableImage: it is empty, none of `FORMATS`, too large, or cut short.
    """
    with _opened(content, FORMATS, max_pixels) as image:
        image.load()
        # Asked for after loading: Pillow turns a TIFF by itself, and nothing is left to turn then.
        orientation, (width, height) = _orientation(image), image.size
        sides = (width, height) if orientation in LYING else (height, width)
        upright = np.empty((*sides, 3), np.uint8)
        as_stored = _TURNS[orientation](upright) if orientation in _TURNS else upright
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            strip = image.crop((0, top, width, min(top + rows, height)))
            as_stored[top : top + rows] = _rgb(strip)
        return upright


@contextmanager
def _opened(content: bytes, formats: Sequence[str], max_pixels: int) -> Iterator[Image.Image]:
    """Yield an image that is not decoded yet; turn every error into UnreadableImage."""
    if not content:
        raise UnreadableImage("empty file")
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(formats))
        if image.width * image.height * COSTS.get(image.format or "", 1) > max_pixels:
            raise UnreadableImage(f"too many pixels: {image.width}×{image.height}")
        yield image
    except UnidentifiedImageError:
        raise UnreadableImage(f"not a {_listed(formats)} image") from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels") from None
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow raises anything, AssertionError too, on damaged files
        raise UnreadableImage(f"damaged image: {one_line(error)}") from None


def _listed(formats: Sequence[str]) -> str:
    *first, last = (NAMES.get(name, name) for name in formats)
    return f"{', '.join(first)} or {last}"


def _rgb(image: Image.Image) -> Pixels:
    if image.mode in ("I", "F"):
        raise UnreadableImage("32 bits a pixel: save it with 8 or 16 bits a channel")
    if image.mode.startswith("I;16"):  # which Pillow would cut off at 255
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.stack([grey] * 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 0 <= value <= 255 else 0


def decode_to_size(content: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return an image of any of `FORMATS` as uint8 RGB (size, size, 3), resampled if need be.

    Raises:
        UnreadableImage: it does not decode, or has more than `max_pixels`.
    """
    return resampled(decode(content, formats=FORMATS, max_pixels=max_pixels)[0], size)


def decode_stored(content: bytes, size: int = 0) -> Pixels:
    """Return a patch that `decode` has accepted before as the same uint8 RGB pixels, but faster.

    OpenCV accepts many damaged files, so files that were never checked are for `decode`.

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
    import cv2

    as_decode_does = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels: Pixels | None = cv2.imdecode(np.frombuffer(content, np.uint8), as_decode_does)
    return pixels


def resampled(pixels: Pixels, size: int) -> Pixels:
    """Return uint8 RGB pixels as (size, size, 3)."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
