"""Read from EXIF which camera took a photograph, and when; cuts of it often keep both."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Any

from PIL import Image

from cracks.images.decode import STORED_FORMATS

#: The tags that name a camera, and those of the time of the exposure and its part of a second; the
#: directory holds all but the first two.
#: Source: CIPA DC-008, "Exif 2.32", sections 4.6.4 and 4.6.5.
MAKE, MODEL, DIRECTORY, SERIAL_NUMBER = 0x010F, 0x0110, 0x8769, 0xA431
EXPOSED, EXPOSED_FRACTION = 0x9003, 0x9291


def exposure(content: bytes) -> tuple[str, datetime | None]:
    """Return the camera ("" where none is named), and the time by its clock, to the millisecond.

    A file whose EXIF is damaged tells nothing; that makes the picture no worse.

    Args:
        content: a JPEG or PNG file.
    """
    try:
        exif = Image.open(io.BytesIO(content), formats=STORED_FORMATS).getexif()
        directory = exif.get_ifd(DIRECTORY)
    except Exception:  # Pillow raises anything on damaged files
        return "", None
    named = (exif.get(MAKE), exif.get(MODEL), directory.get(SERIAL_NUMBER))
    return " ".join(filter(None, map(_text, named))), _time(directory)


def _time(directory: dict[int, Any]) -> datetime | None:
    try:
        time = datetime.strptime(_text(directory.get(EXPOSED)), "%Y:%m:%d %H:%M:%S")
    except ValueError:  # a camera whose clock was never set writes zeros or spaces
        return None
    fraction = _text(directory.get(EXPOSED_FRACTION))
    milliseconds = int(fraction[:3].ljust(3, "0")) if fraction.isdecimal() else 0
    return time + timedelta(milliseconds=milliseconds)


def _text(value: Any) -> str:
    """Return what a tag of text says, without its padding; "" where it holds none."""
    text = value if isinstance(value, str) else ""
    return "".join(letter for letter in text if letter.isprintable()).strip()
