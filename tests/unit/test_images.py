"""Images: decoded in memory, or refused with a reason in words."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cracks.errors import UnreadableImage
from cracks.images import decode, decode_to_size, inspect_patch, laplacian_variance
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


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("L", "PNG"), ("P", "PNG")],
)
def test_every_colour_mode_is_recorded_and_decoded_as_rgb(mode: str, format_: str) -> None:
    content = picture(size=SIZE, mode=mode, format_=format_)
    facts = inspect_patch(content, SIZE)
    assert (facts.mode, facts.format, facts.width, facts.height) == (mode, format_, SIZE, SIZE)
    assert facts.size_bytes == len(content)
    pixels, _ = decode(content)
    assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)


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
        (picture(size=33), "wrong size: 33×33, not 32×32 pixels"),
        (encoded(Image.new("L", (32, 31))), "wrong size: 32×31, not 32×32 pixels"),
        (_png_that_claims(30_000, 30_000), "too many pixels"),
        (_png_that_claims(8_000, 8_000), "too many pixels: 8000×8000"),
        (_png_that_claims(10_000, 10_000), "too many pixels: 10000×10000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_patch_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=f"^{reason}"):
        inspect_patch(content, SIZE)


@given(
    format_=st.sampled_from(FORMATS),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=4
    ),
)
def test_whatever_the_bytes_a_picture_is_decoded_or_refused(
    format_: str, changes: list[tuple[float, bytes]]
) -> None:
    content = bytearray(picture(format_=format_))
    for place, bytes_ in changes:
        start = int(place * len(content))
        content[start : start + len(bytes_)] = bytes_
    with suppress(UnreadableImage):
        pixels, facts = decode(bytes(content))
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


def test_brightness_and_contrast_are_those_of_the_grey_values() -> None:
    halves = np.full((SIZE, SIZE), 100, np.uint8)
    halves[:, SIZE // 2 :] = 140
    facts = inspect_patch(encoded(Image.fromarray(halves)), SIZE)
    assert (facts.brightness, facts.contrast) == (120, 20)


def test_a_plane_has_no_sharpness_and_a_blurred_picture_less_than_a_sharp_one() -> None:
    slope = np.add.outer(np.arange(9), 2 * np.arange(9)).astype(np.float32)
    assert laplacian_variance(slope) == 0
    sharp = np.indices((9, 9)).sum(axis=0).astype(np.float32) % 2
    blurred = (sharp[:-1] + sharp[1:] * 0.5) / 1.5
    assert laplacian_variance(sharp) > laplacian_variance(blurred) > 0


def test_a_patch_of_the_right_size_keeps_its_pixels_and_another_is_resampled() -> None:
    content = picture(size=SIZE)
    assert (decode_to_size(content, SIZE) == decode(content)[0]).all()
    assert decode_to_size(content, 20).shape == (20, 20, 3)
    assert (
        decode_to_size(encoded(Image.new("L", (50, 20), 77)), SIZE).tolist()
        == [[[77] * 3] * SIZE] * SIZE
    )
