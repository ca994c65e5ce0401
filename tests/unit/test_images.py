"""Images: decoded in memory, or refused with a reason in words."""

from __future__ import annotations

import io
import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cracks.errors import UnreadableImage
from cracks.images import MAX_PIXELS, ORIENTATION, decode, decode_stored, decode_to_size
from tests.unit.builders import encoded, picture

SIZE = 32
FORMATS = ("JPEG", "PNG")


def _png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def _with_right_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks are believed, so that damage reaches what reads them."""
    mended, place = bytearray(png[:8]), 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        body = png[place + 4 : end]
        mended += png[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place = end + 4
    return bytes(mended + png[place:])


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("L", "PNG"), ("P", "PNG")],
)
def test_every_colour_mode_is_decoded_as_rgb(mode: str, format_: str) -> None:
    pixels, said = decode(picture(size=SIZE, mode=mode, format_=format_))
    assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert (said["mode"], said["format"]) == (mode, format_)


def test_a_png_gives_back_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    decoded, facts = decode(encoded(Image.fromarray(pixels)))
    assert (decoded == pixels).all()
    assert (facts["width"], facts["height"]) == (7, 5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"Thumbs, not pictures\n" * 50, "not a JPEG or PNG image"),
        (encoded(Image.new("RGB", (SIZE, SIZE)), "BMP"), "not a JPEG or PNG image"),
        (encoded(Image.new("RGB", (SIZE, SIZE)), "GIF"), "not a JPEG or PNG image"),
        (picture()[:300], "damaged image: .*[Tt]runcated"),
        (picture()[:-50], "damaged image: .*[Tt]runcated"),
        (picture(format_="PNG")[:300], "damaged image: "),
        (picture()[:4], "not a JPEG or PNG image"),
        (_png_that_claims(30_000, 30_000), "too many pixels"),
        (_png_that_claims(1, MAX_PIXELS + 1), "too many pixels: 1×50000001"),
        (_png_that_claims(8_000, 8_000), "too many pixels: 8000×8000"),
        (_png_that_claims(10_000, 10_000), "too many pixels: 10000×10000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=f"^{reason}"):
        decode(content)


def test_a_palette_that_is_missing_is_a_damage() -> None:
    image = Image.new("P", (SIZE, SIZE))
    image.info["transparency"] = 0
    content = _with_right_checksums(encoded(image).replace(b"PLTE", b"PLTU"))
    with pytest.raises(UnreadableImage, match=r"^damaged image: \w"):
        decode(content)


@given(
    format_=st.sampled_from(FORMATS),
    mode=st.sampled_from(["RGB", "L", "P"]),
    checksums_are_right=st.booleans(),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=4
    ),
)
def test_whatever_the_bytes_a_picture_is_decoded_or_refused(
    format_: str, mode: str, checksums_are_right: bool, changes: list[tuple[float, bytes]]
) -> None:
    mode = "RGB" if (mode, format_) == ("P", "JPEG") else mode
    content = bytearray(picture(mode=mode, format_=format_))
    for place, bytes_ in changes:
        start = int(place * len(content))
        content[start : start + len(bytes_)] = bytes_
    damaged = bytes(content)
    if format_ == "PNG" and checksums_are_right:
        damaged = _with_right_checksums(damaged)
    with suppress(UnreadableImage):
        pixels, facts = decode(damaged)
        assert pixels.shape == (facts["height"], facts["width"], 3)


def test_decoding_in_threads_leaves_the_warnings_of_the_process_alone() -> None:
    before, content, together = list(warnings.filters), picture(), threading.Barrier(8)

    def decode_some(_: int) -> None:
        together.wait()
        for _ in range(100):
            decode(content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode_some, range(8)))
    assert list(warnings.filters) == before


def test_a_patch_of_the_right_size_keeps_its_pixels_and_another_is_resampled() -> None:
    content = picture(size=SIZE)
    assert (decode_to_size(content, SIZE) == decode(content)[0]).all()
    assert decode_to_size(content, 20).shape == (20, 20, 3)
    assert (
        decode_to_size(encoded(Image.new("L", (50, 20), 77)), SIZE).tolist()
        == [[[77] * 3] * SIZE] * SIZE
    )


def _variant(mode: str, format_: str, **options: Any) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (33, 47, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(noise, "RGBA" if mode == "RGBA" else "RGBX").convert(mode)
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def _held_sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


STORED = {
    "JPEG 4:2:0": _variant("RGB", "JPEG", subsampling="4:2:0"),
    "JPEG 4:2:2": _variant("RGB", "JPEG", subsampling="4:2:2"),
    "JPEG 4:4:4": _variant("RGB", "JPEG", subsampling="4:4:4"),
    "JPEG stored as RGB": _variant("RGB", "JPEG", keep_rgb=True),
    "JPEG progressive": _variant("RGB", "JPEG", progressive=True),
    "JPEG grey": _variant("L", "JPEG"),
    "JPEG grey, progressive": _variant("L", "JPEG", progressive=True),
    "JPEG CMYK": _variant("CMYK", "JPEG"),
    "JPEG held sideways": _variant("RGB", "JPEG", exif=_held_sideways()),
    "PNG": _variant("RGB", "PNG"),
    "PNG grey": _variant("L", "PNG"),
    "PNG palette": _variant("P", "PNG"),
    "PNG palette, transparent": _variant("P", "PNG", transparency=0),
    "PNG alpha": _variant("RGBA", "PNG"),
    "PNG grey and alpha": _variant("LA", "PNG"),
    "PNG 16 bit": _variant("I;16", "PNG"),
    "PNG 1 bit": _variant("1", "PNG"),
}


@pytest.mark.parametrize("content", STORED.values(), ids=STORED.keys())
def test_a_stored_patch_has_the_pixels_that_were_inspected(content: bytes) -> None:
    pixels, _ = decode(content)
    found = decode_stored(content)
    assert found.dtype == pixels.dtype
    assert found.tolist() == pixels.tolist()


@pytest.mark.parametrize("content", STORED.values(), ids=STORED.keys())
def test_a_stored_patch_is_decoded_without_opencv_too(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert decode_stored(content).tolist() == decode(content)[0].tolist()


def test_a_stored_patch_of_another_size_is_resampled_like_any_other() -> None:
    content = picture(size=SIZE)
    assert (decode_stored(content, SIZE) == decode(content)[0]).all()
    assert (decode_stored(content, 20) == decode_to_size(content, 20)).all()


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"no image", picture()[:100]])
def test_a_stored_patch_that_is_none_is_refused_with_the_reason(content: bytes) -> None:
    with pytest.raises(UnreadableImage) as reason:
        decode(content)
    with pytest.raises(UnreadableImage, match=str(reason.value)):
        decode_stored(content)
