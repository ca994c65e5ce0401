"""Changed patches: what the name says happens to them, and nothing else, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from cracks.images.decode import Pixels
from cracks.images.perturbations import (
    CORRUPTIONS,
    DRAWN_CRACK,
    INVARIANCES,
    UNDISTURBED,
    perturbed,
)
from tests.unit.builders import surface

EVERY = (UNDISTURBED, *INVARIANCES, *CORRUPTIONS, DRAWN_CRACK)
BY_CHANCE = ("noise of 5 grey values", "noise of 15 grey values", DRAWN_CRACK)


def _patch() -> Pixels:
    tint = np.array([1.05, 1.0, 0.9])
    return np.asarray((surface(0, size=96)[:, :, None] * tint).clip(0, 255), np.uint8)


@pytest.mark.parametrize("name", EVERY)
def test_a_changed_patch_is_another_patch_and_the_original_is_left_alone(name: str) -> None:
    patch = _patch()
    changed = perturbed(patch, name, "a")
    assert (changed.shape, changed.dtype) == (patch.shape, np.uint8)
    assert np.array_equal(changed, patch) == (name == UNDISTURBED)
    assert np.array_equal(patch, _patch())


@pytest.mark.parametrize("name", EVERY)
def test_a_patch_is_changed_the_same_way_every_time_and_chance_goes_by_its_id(name: str) -> None:
    first, other = (perturbed(_patch(), name, id_) for id_ in "ab")
    assert np.array_equal(first, other) == (name not in BY_CHANCE)
    assert np.array_equal(perturbed(_patch(), name, "a"), first)


@pytest.mark.parametrize("side", ["left to right", "top to bottom"])
def test_a_patch_mirrored_twice_is_the_patch(side: str) -> None:
    once = perturbed(_patch(), f"mirrored {side}", "a")
    assert np.array_equal(perturbed(once, f"mirrored {side}", "a"), _patch())


def test_mirroring_left_to_right_keeps_the_rows_where_they_are() -> None:
    mirrored = perturbed(_patch(), "mirrored left to right", "a")
    assert np.array_equal(mirrored[:, 0], _patch()[:, -1])


def test_a_quarter_turn_and_three_more_quarters_are_a_whole_turn() -> None:
    quarter = perturbed(_patch(), "turned by 90°", "a")
    assert np.array_equal(perturbed(quarter, "turned by 270°", "a"), _patch())
    assert np.array_equal(
        perturbed(quarter, "turned by 90°", "a"), perturbed(_patch(), "turned by 180°", "a")
    )


def test_light_changes_by_a_fifth_and_white_stays_white() -> None:
    grey, white = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 250, np.uint8)
    assert (perturbed(grey, "20 % darker", "a") == 80).all()
    assert (perturbed(grey, "20 % brighter", "a") == 120).all()
    assert (perturbed(white, "20 % brighter", "a") == 255).all()


@pytest.mark.parametrize("deviation", [5, 15])
def test_noise_is_as_strong_as_its_name_says_and_does_not_wrap_around(deviation: int) -> None:
    name = f"noise of {deviation} grey values"
    grey, black = np.full((96, 96, 3), 128, np.uint8), np.zeros((96, 96, 3), np.uint8)
    assert perturbed(grey, name, "a").std() == pytest.approx(deviation, rel=0.05)
    assert perturbed(grey, name, "a").mean() == pytest.approx(128, abs=0.5)
    assert perturbed(black, name, "a").max() < 6 * deviation


def test_blur_takes_fine_detail_away_and_more_with_two_pixels() -> None:
    noise = np.random.default_rng(0).integers(60, 200, (96, 96, 3)).astype(np.uint8)
    once, twice = (perturbed(noise, f"blurred by {n}", "a").std() for n in ("1 pixel", "2 pixels"))
    # White noise keeps 1 / (2 sigma sqrt(pi)) of its deviation under a Gaussian in two dimensions.
    assert once / noise.std() == pytest.approx(1 / (2 * np.sqrt(np.pi)), rel=0.1)
    assert twice / noise.std() == pytest.approx(1 / (4 * np.sqrt(np.pi)), rel=0.1)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_contrast_changes_around_the_mean_of_each_colour(factor: float) -> None:
    patch, changed = _patch(), perturbed(_patch(), f"contrast × {factor}", "a")
    assert changed.mean(axis=(0, 1)) == pytest.approx(patch.mean(axis=(0, 1)), abs=0.5)
    assert changed.std(axis=(0, 1)) == pytest.approx(factor * patch.std(axis=(0, 1)), rel=0.05)


def test_strong_compression_keeps_the_picture_and_loses_detail() -> None:
    compressed = perturbed(_patch(), "JPEG quality 30", "a").astype(int)
    error = np.abs(compressed - _patch())
    assert 0.2 < error.mean() < 6


def test_a_drawn_crack_only_makes_a_patch_darker_on_the_whole() -> None:
    assert perturbed(_patch(), DRAWN_CRACK, "a").mean() < _patch().mean()


def test_a_change_that_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError, match="upside down"):
        perturbed(_patch(), "upside down", "a")
