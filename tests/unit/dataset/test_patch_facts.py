"""Inspection: what the manifest says of a patch, or the reason why it is none."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cracks.dataset.fingerprints import BLOCK
from cracks.dataset.manifest import FACTS
from cracks.dataset.patch_facts import inspect_patch, laplacian_variance, reduced_grey
from cracks.dataset.shards import ShardRow, ShardWriter, rows_of
from cracks.errors import UnreadableImage
from cracks.images.decode import ORIENTATION
from tests.unit.builders import encoded, picture, places_of

SIZE = 32


def _flat(*colour: int) -> bytes:
    return encoded(Image.new("RGB", (SIZE, SIZE), colour))


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("L", "PNG"), ("P", "PNG")],
)
def test_every_colour_mode_is_recorded(mode: str, format_: str) -> None:
    content = picture(size=SIZE, mode=mode, format_=format_)
    facts = inspect_patch(content, SIZE)
    assert (facts.mode, facts.format, facts.width, facts.height) == (mode, format_, SIZE, SIZE)
    assert facts.size_bytes == len(content)
    assert facts.bytes_per_pixel == pytest.approx(len(content) / SIZE**2, abs=1e-4)


@pytest.mark.parametrize("shape", [(33, 33), (32, 31), (31, 32)])
def test_a_picture_of_another_size_is_refused_with_both_sizes(shape: tuple[int, int]) -> None:
    width, height = shape
    reason = f"^wrong size: {width}×{height}, not 32×32 pixels$"
    with pytest.raises(UnreadableImage, match=reason):
        inspect_patch(encoded(Image.new("L", shape)), SIZE)


def test_a_large_picture_is_refused_before_its_pixels_take_memory() -> None:
    side = 2000
    content = encoded(Image.new("RGB", (side, side)))
    tracemalloc.start()
    with pytest.raises(UnreadableImage, match="wrong size: 2000×2000"):
        inspect_patch(content, SIZE)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < side * side


def test_brightness_and_contrast_are_those_of_the_grey_values() -> None:
    halves = np.full((SIZE, SIZE), 100, np.uint8)
    halves[:, SIZE // 2 :] = 140
    facts = inspect_patch(encoded(Image.fromarray(halves)), SIZE)
    assert (facts.brightness, facts.contrast) == (120, 20)


def test_the_cast_is_the_difference_of_the_channels() -> None:
    facts = inspect_patch(_flat(120, 100, 90), SIZE)
    assert (facts.red_minus_green, facts.green_minus_blue) == (20, 10)


@pytest.mark.parametrize(("grey", "saturated"), [(2, 1), (3, 0), (128, 0), (252, 0), (253, 1)])
def test_black_and_white_pixels_are_saturated(grey: int, saturated: float) -> None:
    assert inspect_patch(_flat(grey, grey, grey), SIZE).saturated == saturated


def test_the_share_of_saturated_pixels_counts_both_ends() -> None:
    pixels = np.full((SIZE, SIZE), 128, np.uint8)
    pixels[:4], pixels[4:12] = 0, 255
    assert inspect_patch(encoded(Image.fromarray(pixels)), SIZE).saturated == 12 / SIZE


def test_a_plane_has_no_sharpness_and_a_blurred_picture_less_than_a_sharp_one() -> None:
    assert laplacian_variance(np.full((9, 9), 100, np.uint8)) == 0
    sharp = (np.indices((9, 9)).sum(axis=0) % 2 * 200).astype(np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 0.5))
    assert laplacian_variance(sharp) > laplacian_variance(blurred) > 0


@pytest.mark.parametrize(("written", "recorded"), [(None, 1), (1, 1), (6, 6), (8, 8), (300, 0)])
def test_the_orientation_is_that_of_exif(written: int | None, recorded: int) -> None:
    exif = Image.Exif()
    if written is not None:
        exif[ORIENTATION] = written
    file = encoded(Image.new("RGB", (SIZE, SIZE)), "JPEG", exif=exif)
    assert inspect_patch(file, SIZE).orientation == recorded


def test_the_fingerprint_is_kept_as_the_manifest_stores_it() -> None:
    one, again, other = (inspect_patch(picture(seed), SIZE) for seed in (1, 1, 2))
    assert one == again
    assert one.fingerprint != other.fingerprint
    assert len(one.borders) == FACTS.field("borders").type.byte_width
    assert len(one.fingerprint) == FACTS.field("fingerprint").type.byte_width == 2 * BLOCK * BLOCK


def test_rows_of_the_manifest_come_back_as_small_grey_pictures_in_order(tmp_path: Path) -> None:
    greys = {"aa": 10, "bb": 200, "cc": 90, "dd": 60}
    writer = ShardWriter(tmp_path, shard_rows=3)
    rows = [ShardRow(id_, "crack", id_, _flat(*[grey] * 3)) for id_, grey in greys.items()]
    manifest = places_of([(row.id, writer.add(row)) for row in rows])
    writer.flush()
    pictures = reduced_grey(rows_of(["dd", "aa", "bb"], manifest), tmp_path, 8)
    assert [picture.shape for picture in pictures] == [(8, 8)] * 3
    assert [picture.mean() for picture in pictures] == [60, 10, 200]
