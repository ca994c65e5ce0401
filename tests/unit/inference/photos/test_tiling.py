"""Tiling: every pixel of a photograph is looked at, in patches of the network's own size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracks.inference.photos.overlap import MAX_OVERLAP
from cracks.inference.photos.tiling import Tiling

lengths = st.integers(1, 200)
overlaps = st.floats(0, MAX_OVERLAP)


@given(width=lengths, height=lengths, size=st.integers(8, 90), overlap=overlaps)
def test_every_pixel_is_in_a_patch_and_no_patch_reaches_out(
    width: int, height: int, size: int, overlap: float
) -> None:
    tiling = Tiling(width, height, size, overlap)
    seen = np.zeros((height, width), bool)
    for x, y, w, h in tiling.boxes.tolist():
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        seen[y : y + h, x : x + w] = True
    assert seen.all()
    assert len(tiling) == len(tiling.boxes)


@given(width=st.integers(90, 900), size=st.integers(4, 90), overlap=overlaps)
def test_neighbours_share_what_was_asked_for_at_least(
    width: int, size: int, overlap: float
) -> None:
    starts = Tiling(width, size, size, overlap).boxes[:, 0]
    assert (starts[0], starts[-1]) == (0, width - size)
    assert (np.diff(starts) <= max(1, size * (1 - overlap))).all()


def test_a_photograph_of_twelve_megapixels_is_432_patches() -> None:
    assert len(Tiling(4000, 3000, 227, 0.25)) == 432


def test_the_patches_are_cut_batch_by_batch_in_the_order_of_their_boxes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    tiling = Tiling(90, 70, 32, 0.25)
    batches = list(tiling.batches(pixels, 4))
    assert {len(batch) for batch in batches[:-1]} == {4}
    patches = np.concatenate(batches)
    assert patches.dtype == np.uint8
    for patch, (x, y, _, _) in zip(patches, tiling.boxes.tolist(), strict=True):
        assert (patch == pixels[y : y + 32, x : x + 32]).all()


@pytest.mark.parametrize(("width", "height"), [(20, 70), (90, 20), (5, 3), (1, 1)])
def test_a_photograph_that_is_too_small_is_mirrored_and_keeps_its_scale(
    width: int, height: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    tiling = Tiling(width, height, 32, 0.25)
    for batch in tiling.batches(pixels, 4):
        assert batch.shape[1:] == (32, 32, 3)
    patch, (x, y, w, h) = next(tiling.batches(pixels, 1))[0], tiling.boxes[0]
    assert (patch[:h, :w] == pixels[y : y + h, x : x + w]).all()
    if w < 32:
        assert (patch[:, w] == patch[:, w - 1]).all()
    if h < 32:
        assert (patch[h] == patch[h - 1]).all()


def test_patches_of_a_huge_photograph_cost_no_more_memory_than_a_batch() -> None:
    import tracemalloc

    pixels = np.zeros((3000, 3000, 3), np.uint8)
    tracemalloc.start()
    for _ in Tiling(3000, 3000, 227, 0.25).batches(pixels, 4):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024**2
