"""The overlay: the photograph stays to be seen, and what the model says lies over it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cracks.images.decode import Pixels
from cracks.inference.bundle.classifier import Measured
from cracks.inference.photos.heat_map import heat_map
from cracks.inference.photos.inspection import PhotoInspection
from cracks.inference.photos.overlay import LEGEND_WIDTH, LONGEST, draw_overlay, encoded_picture
from cracks.inference.photos.tiling import Tiling

SIZE = 100


def grey(width: int, height: int) -> Pixels:
    return np.full((height, width, 3), 140, np.uint8)


def inspection(
    width: int, height: int, cracked: int | None = None, novelty: float | None = None
) -> PhotoInspection:
    """Return an inspection in which one tile says `crack`, or none."""
    tiling = Tiling(width, height, SIZE, 0)
    scores = np.zeros(len(tiling))
    if cracked is not None:
        scores[cracked] = 1
    distances = None if novelty is None else np.full(len(tiling), novelty)
    measured = Measured(scores, scores, distances, None)
    return PhotoInspection(tiling, 0.5, measured, heat_map(tiling, scores, 0.5))


def drawn(width: int, height: int, cracked: int | None = None) -> Pixels:
    return np.asarray(draw_overlay(grey(width, height), inspection(width, height, cracked), "3"))


def test_a_clean_photograph_stays_as_it_is_above_the_legend() -> None:
    picture = drawn(800, 600)
    assert picture.shape[1] == 800
    assert picture.shape[0] > 600
    assert (picture[:600] == 140).all()
    assert (picture[600:] < 100).any(), "the legend has letters"


def test_a_cracked_tile_is_coloured_and_framed_and_its_surroundings_are_not() -> None:
    picture = drawn(800, 600, cracked=10).astype(int)  # the third of the second row
    red, _, blue = picture[150, 250]
    assert red > 140 > blue
    assert (picture[150, 650] == 140).all()
    assert picture[100, 200:300].max() == 0, "black outside"
    assert picture[101, 202:298].min() == 255, "white inside"


def test_colours_differ_in_brightness_too_for_readers_who_see_no_red() -> None:
    from cracks.inference.photos.overlay import COLOURS

    half, certain = (np.dot(colour[:3], (0.2126, 0.7152, 0.0722)) for colour in COLOURS[-2:])
    assert abs(half - certain) > 80


def test_a_large_photograph_is_made_smaller_and_a_small_one_larger() -> None:
    assert drawn(4 * LONGEST, 1000).shape[1] == LONGEST
    assert drawn(40, 30).shape[1] == LEGEND_WIDTH


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 5000), (5000, 1), (100, 3000), (227, 227)]
)
def test_photographs_of_any_shape_are_drawn(width: int, height: int) -> None:
    picture = drawn(width, height, cracked=0)
    assert max(picture.shape) < LONGEST + 300


def test_a_result_that_is_not_to_be_trusted_says_so() -> None:
    usual, novel = (
        draw_overlay(grey(700, 500), inspection(700, 500, novelty=distance), "3")
        for distance in (0.5, 3.0)
    )
    assert novel.height > usual.height


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_it_is_encoded_as_asked(image_format: str) -> None:
    overlay = draw_overlay(grey(200, 100), inspection(200, 100), "3")
    image = Image.open(io.BytesIO(encoded_picture(overlay, image_format)))
    assert (image.format, image.size) == (image_format, overlay.size)
