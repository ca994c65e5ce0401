"""Tiles that overlap: those of one photograph find each other, and no others."""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cracks.dataset.border_strips import NUMBERS, SHARE, Strips, border_strips
from cracks.dataset.split.components import components
from cracks.dataset.split.lookalikes import confirmed
from cracks.dataset.split.overlaps import overlap_candidates, overlap_correlation
from cracks.inference.photos.overlap import OVERLAP
from cracks.inference.photos.tiling import Tiling
from tests.unit.builders import compared, saved, surface

Grey = npt.NDArray[np.uint8]

#: That of params.yaml, and the side of a tile.
CORRELATION, SIDE = 0.85, 227


def _photo(seed: int, width: int, height: int) -> Grey:
    return surface(seed, size=max(width, height))[:height, :width]


def _tiles(photo: Grey, overlap: float = OVERLAP) -> list[Grey]:
    """Return the tiles of a photograph as `/inspect` cuts them, each saved as JPEG."""
    height, width = photo.shape
    colour = np.repeat(photo[:, :, None], 3, axis=2)
    (tiles,) = Tiling(width, height, SIDE, overlap).batches(colour, 1000)
    files = (saved(tile[:, :, 0], "JPEG", quality=90) for tile in tiles)
    return [np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files]


def _strips(tiles: list[Grey]) -> Strips:
    return np.stack([border_strips(tile) for tile in tiles])


def _tied(tiles: list[Grey]) -> list[int]:
    """Return the group of each tile by the overlaps that are found."""
    pairs = confirmed(
        overlap_candidates(_strips(tiles)),
        lambda rows: [compared(tiles[row]) for row in rows],
        overlap_correlation,
        CORRELATION,
        lambda _: None,
    )
    return components(pairs, len(tiles)).tolist()


def test_the_strips_are_as_wide_as_what_tiles_of_an_inspection_have_in_common() -> None:
    assert SHARE == OVERLAP


# Neighbours of 12 megapixels have 27 % of their side in common, since tiles are spread evenly.
@pytest.mark.parametrize("overlap", [0.25, 0.26, 0.27, 0.28])
def test_the_tiles_of_a_photograph_are_tied_together_and_to_no_other(overlap: float) -> None:
    step = int(SIDE * (1 - overlap))
    photos = [_photo(seed, SIDE + 4 * step, SIDE + 2 * step) for seed in range(6)]
    tiles = [tile for photo in photos for tile in _tiles(photo, overlap)]
    assert len(tiles) == 6 * 15
    assert _tied(tiles) == [15 * (place // 15) for place in range(len(tiles))]


def test_patches_that_lie_side_by_side_without_an_overlap_are_not_tied() -> None:
    tiles = _tiles(_photo(1, 4 * SIDE, 4 * SIDE), overlap=0)
    assert _tied(tiles) == list(range(16))


def test_a_crack_that_crosses_the_border_at_the_same_place_is_no_overlap() -> None:
    tiles = [surface(seed) for seed in (1, 2)]
    for tile in tiles:
        cv2.line(tile, (0, 110), (SIDE, 120), 30, 6)
    assert overlap_correlation(*map(compared, tiles)) < CORRELATION - 0.1


def test_it_does_not_matter_which_of_two_tiles_comes_first() -> None:
    left, right = (compared(tile) for tile in _tiles(_photo(1, SIDE + 170, SIDE)))
    assert overlap_correlation(left, right) == overlap_correlation(right, left) > CORRELATION


def test_light_that_falls_off_towards_the_border_does_not_hide_an_overlap() -> None:
    left, right = _tiles(_photo(1, SIDE + 170, SIDE))
    darker = (right * np.linspace(0.6, 1, SIDE)).astype(np.uint8)
    assert overlap_correlation(compared(left), compared(darker)) > CORRELATION


@pytest.mark.parametrize("count", [0, 1, 600])
def test_blank_tiles_are_no_candidates(count: int) -> None:
    blank = np.tile(border_strips(np.full((SIDE, SIDE), 120, np.uint8)), (count, 1, 1))
    assert overlap_candidates(blank.reshape(-1, 4, NUMBERS)).shape == (0, 2)


def test_the_candidates_grow_with_the_tiles_not_with_their_square() -> None:
    one = border_strips(surface(1))
    noise = np.random.default_rng(0).integers(-5, 5, (600, *one.shape))
    pairs = overlap_candidates((one + noise).astype(np.int16))
    assert len(pairs) <= 2 * 600
    assert (pairs[:, 0] < pairs[:, 1]).all()
