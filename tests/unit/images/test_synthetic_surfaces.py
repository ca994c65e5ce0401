"""Drawn surfaces: deterministic, varied, and each of the colours and shapes of its material."""

from __future__ import annotations

import numpy as np
import pytest

from cracks.images.decode import Pixels
from cracks.images.synthetic_surfaces import MATERIALS, draw_surface


def drawn(material: str, number: int) -> Pixels:
    return draw_surface(material, np.random.default_rng([17, number]))


@pytest.fixture(scope="module")
def surfaces() -> dict[str, list[Pixels]]:
    return {material: [drawn(material, number) for number in range(6)] for material in MATERIALS}


@pytest.mark.parametrize("material", MATERIALS)
def test_a_surface_is_a_patch_like_any_other(
    surfaces: dict[str, list[Pixels]], material: str
) -> None:
    for pixels in surfaces[material]:
        assert (pixels.shape, pixels.dtype) == ((227, 227, 3), np.uint8)
        assert pixels.flags.c_contiguous
        assert 15 < pixels.mean() < 253
        assert pixels.std() > 2


@pytest.mark.parametrize("material", MATERIALS)
def test_the_same_state_draws_the_same_surface_and_another_one_another(
    surfaces: dict[str, list[Pixels]], material: str
) -> None:
    np.testing.assert_array_equal(drawn(material, 0), surfaces[material][0])
    assert len({pixels.tobytes() for pixels in surfaces[material]}) == 6
    means = [pixels.mean() for pixels in surfaces[material]]
    assert np.ptp(means) > 5, "all in the same light"


@pytest.mark.parametrize(
    ("material", "more", "less"), [("brick", 0, 2), ("foliage", 1, 2), ("timber", 0, 2)]
)
def test_brick_is_reddish_foliage_green_and_most_timber_brown(
    surfaces: dict[str, list[Pixels]], material: str, more: int, less: int
) -> None:
    excess = [pixels[..., more].mean() - pixels[..., less].mean() for pixels in surfaces[material]]
    assert np.median(excess) > 15


def test_most_skies_are_blue(surfaces: dict[str, list[Pixels]]) -> None:
    excess = [pixels[..., 2].mean() - pixels[..., 0].mean() for pixels in surfaces["sky"]]
    assert np.median(excess) > 5


def test_asphalt_is_dark_grey_and_grainy() -> None:
    surfaces = [drawn("asphalt", number).astype(float) for number in range(12)]
    assert np.median([pixels.mean() for pixels in surfaces]) < 130
    tints = [np.ptp(pixels.mean(axis=(0, 1))) / pixels.mean() for pixels in surfaces]
    assert np.median(tints) < 0.12
    # Stones: neighbours a few pixels apart differ nearly as much as any two pixels.
    steps = [(pixels[:, 6:] - pixels[:, :-6]).std() / pixels.std() for pixels in surfaces]
    assert np.median(steps) > 1


def test_text_has_two_tones_and_sharp_edges(surfaces: dict[str, list[Pixels]]) -> None:
    for pixels in surfaces["text"]:
        low, high = np.percentile(pixels.mean(axis=2), [2, 98])
        assert high - low > 60


def test_a_material_that_nobody_draws_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="no material 'marble': draw one of brick, asphalt"):
        draw_surface("marble", np.random.default_rng(0))
