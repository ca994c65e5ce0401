"""EXIF: camera and time of a cut are those of its photograph; damage makes no picture unusable."""

from __future__ import annotations

from datetime import datetime

import pytest
from PIL import Image

from cracks.images.exif import (
    DIRECTORY,
    EXPOSED,
    EXPOSED_FRACTION,
    MAKE,
    MODEL,
    SERIAL_NUMBER,
    exposure,
)
from tests.unit.builders import encoded


def _taken(
    format_: str = "JPEG", time: object = "2026:05:03 10:15:12", fraction: object = "04"
) -> bytes:
    image = Image.new("RGB", (32, 32))
    exif = image.getexif()
    exif[MAKE], exif[MODEL] = "Canon\0", "EOS R5 "
    exif.get_ifd(DIRECTORY).update({EXPOSED: time, EXPOSED_FRACTION: fraction, SERIAL_NUMBER: "12"})
    return encoded(image, format_, exif=exif)


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_camera_and_time_are_read(format_: str) -> None:
    taken = datetime(2026, 5, 3, 10, 15, 12, 40_000)
    assert exposure(_taken(format_)) == ("Canon EOS R5 12", taken)


@pytest.mark.parametrize(
    ("fraction", "milliseconds"), [("1", 100), ("123456", 123), ("", 0), ("  ", 0), ("-1", 0)]
)
def test_a_part_of_a_second_is_read_as_decimals(fraction: str, milliseconds: int) -> None:
    assert exposure(_taken(fraction=fraction))[1] == datetime(
        2026, 5, 3, 10, 15, 12, 1000 * milliseconds
    )


@pytest.mark.parametrize("time", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2026-05-03", ""])
def test_a_clock_that_was_never_set_tells_no_time(time: str) -> None:
    assert exposure(_taken(time=time)) == ("Canon EOS R5 12", None)


def test_a_file_without_exif_tells_nothing() -> None:
    assert exposure(encoded(Image.new("RGB", (32, 32)))) == ("", None)


def test_damaged_exif_tells_nothing_and_raises_nothing() -> None:
    content = bytearray(_taken())
    start = content.index(b"Exif") + 6
    for at in range(start, start + 60):
        content[at] ^= 0xFF
    assert exposure(bytes(content)) == ("", None)
    assert exposure(b"") == ("", None)
