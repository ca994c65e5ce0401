"""Images: decoded in memory, or refused with a reason in words."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from damaged import png_that_claims
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cracks.errors import UnreadableImage
from cracks.images.decode import (
    FORMATS,
    MAX_PIXELS,
    ORIENTATION,
    STORED_FORMATS,
    decode,
    decode_stored,
    decode_to_size,
    decode_upright,
    stored_size,
)
from tests.unit.builders import encoded, picture

SIZE = 32

#: Some bytes that are written over a file, each at a share of its length.
Changes = list[tuple[float, bytes]]
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=4)


def _damaged(content: bytes, changes: Changes) -> bytes:
    damaged = bytearray(content)
    for place, bytes_ in changes:
        start = int(place * len(content))
        damaged[start : start + len(bytes_)] = bytes_
    return bytes(damaged)


def _with_right_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks are believed, so that damage reaches what reads them."""
    changed, place = bytearray(png[:8]), 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        body = png[place + 4 : end]
        changed += png[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place = end + 4
    return bytes(changed + png[place:])


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
        (png_that_claims(30_000, 30_000), "too many pixels"),
        (png_that_claims(1, MAX_PIXELS + 1), "too many pixels: 1×50000001"),
        (png_that_claims(8_000, 8_000), "too many pixels: 8000×8000"),
        (png_that_claims(10_000, 10_000), "too many pixels: 10000×10000"),
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
    format_=st.sampled_from(STORED_FORMATS),
    mode=st.sampled_from(["RGB", "L", "P"]),
    checksums_are_right=st.booleans(),
    changes=CHANGES,
)
def test_whatever_the_bytes_a_picture_is_decoded_or_refused(
    format_: str, mode: str, checksums_are_right: bool, changes: Changes
) -> None:
    mode = "RGB" if (mode, format_) == ("P", "JPEG") else mode
    damaged = _damaged(picture(mode=mode, format_=format_), changes)
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
    return encoded(image, format_, **options)


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


# --- what is decoded ------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_that_is_supported_is_decoded(format_: str) -> None:
    image = Image.new("RGB", (SIZE, SIZE), (10, 120, 230))
    pixels = decode_to_size(encoded(image, format_), SIZE)
    assert np.abs(pixels.astype(int) - (10, 120, 230)).max() < 8
    assert decode_upright(encoded(image, format_), MAX_PIXELS).tolist() == pixels.tolist()


@pytest.mark.parametrize("format_", ["WEBP", "TIFF"])
def test_a_data_set_takes_no_other_formats_than_before(format_: str) -> None:
    with pytest.raises(UnreadableImage, match=r"^not a JPEG or PNG image$"):
        decode(encoded(Image.new("RGB", (SIZE, SIZE)), format_))


@pytest.mark.parametrize("format_", ["BMP", "GIF", "ICO", "PDF"])
def test_no_other_format_is_decoded(format_: str) -> None:
    content = encoded(Image.new("RGB", (SIZE, SIZE)), format_)
    for decoded in (decode_to_size, decode_upright, stored_size):
        with pytest.raises(UnreadableImage, match=r"^not a JPEG, PNG, WebP or TIFF image$"):
            decoded(content, MAX_PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", FORMATS)
def test_a_photograph_is_turned_the_way_up_that_it_was_taken(
    format_: str, orientation: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    stored = Image.fromarray(noise).resize((50, 30), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = decode_upright(encoded(stored, format_, exif=exif), MAX_PIXELS)
    stored.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
    assert upright.shape == expected.shape
    assert upright.flags.c_contiguous
    assert np.abs(upright - expected).mean() < (1e-9 if format_ in ("PNG", "TIFF") else 30)


def test_a_photograph_of_many_strips_is_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cracks.images.decode.STRIP_PIXELS", 7 * 31)
    pixels = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    assert (decode_upright(encoded(Image.fromarray(pixels)), MAX_PIXELS) == pixels).all()


def test_of_a_file_of_several_pictures_the_first_one_counts() -> None:
    pages = [Image.new("RGB", (SIZE, SIZE), (shade, shade, shade)) for shade in (40, 200)]
    for format_, options in (("TIFF", {}), ("WEBP", {"lossless": True})):
        file = encoded(pages[0], format_, save_all=True, append_images=pages[1:], **options)
        assert (decode_upright(file, MAX_PIXELS) == 40).all()


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_16_bits_a_pixel_become_8_and_not_white(format_: str) -> None:
    grey = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    pixels = decode_to_size(encoded(Image.fromarray(grey), format_), SIZE)
    assert (pixels[..., 0] == grey // 256).all()


def test_pixels_that_are_no_brightness_are_refused() -> None:
    heights = Image.fromarray(np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(UnreadableImage, match=r"^32 bits a pixel: save it with 8 or 16"):
        decode_upright(encoded(heights, "TIFF"), MAX_PIXELS)


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    content = png_that_claims(300, 200)  # whose pixels are missing
    assert stored_size(content, 60_000) == (300, 200)
    with pytest.raises(UnreadableImage, match=r"^too many pixels: 300×200$"):
        decode_to_size(content, SIZE, 59_999)
    for decoded in (decode_upright, stored_size):
        with pytest.raises(UnreadableImage, match=r"^too many pixels: 300×200$"):
            decoded(content, 59_999)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_photograph_that_is_cut_short_is_refused(format_: str) -> None:
    content = picture(size=200, format_=format_)
    with pytest.raises(UnreadableImage):
        decode_upright(content[: len(content) // 2], MAX_PIXELS)


def test_a_format_that_takes_more_memory_may_have_fewer_pixels() -> None:
    content = picture(size=100, format_="WEBP")
    assert decode_upright(content, 20_000).shape == (100, 100, 3)
    with pytest.raises(UnreadableImage, match=r"^too many pixels: 100×100$"):
        decode_upright(content, 19_999)


@given(
    format_=st.sampled_from(FORMATS),
    compression=st.sampled_from(["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg"]),
    changes=CHANGES,
)
def test_whatever_the_bytes_a_photograph_is_decoded_or_refused(
    format_: str, compression: str, changes: Changes
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    file = encoded(Image.fromarray(noise), format_, compression=compression)
    damaged = _damaged(file, changes)
    with suppress(UnreadableImage):
        pixels = decode_upright(damaged, 1_000_000)
        assert pixels.ndim == 3
        assert stored_size(damaged, 1_000_000) in (pixels.shape[:2], pixels.shape[1::-1])
