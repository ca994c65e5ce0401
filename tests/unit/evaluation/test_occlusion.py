"""Where a network looks: the heat lies where the scorer looks, and the cover is no crack itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cracks.evaluation import occlusion
from cracks.evaluation.figures.behaviour import draw_occlusion
from cracks.evaluation.metrics import Scores
from cracks.evaluation.occlusion import occlusion_maps, places
from cracks.images.decode import Pixels
from tests.unit.builders import surface

SIZE, WINDOW, STRIDE = 96, 24, 12
CELLS = 7  # (96 - 24) / 12 + 1


def _clean(seed: int = 0) -> Pixels:
    grey = 130 + 0.4 * (surface(seed, size=SIZE).astype(float) - 130)
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _spotted(top: int, left: int, seed: int = 0) -> Pixels:
    """Return a clean patch but for a short crack within 24 by 24 pixels."""
    pixels = _clean(seed)
    for step in range(20):
        pixels[top + step + 2, left + step : left + step + 4] = 15
    return pixels


def _darkness(batches: Iterable[Pixels]) -> Scores:
    """Score by the share of pixels far darker than the rest, in (0, 1)."""
    shares = [
        (patch.mean(axis=2) < 0.55 * np.median(patch)).mean()
        for batch in batches
        for patch in batch
    ]
    return np.array([(0.0005 + share) / (0.01 + share) for share in shares])


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (6, 6), (5, 1)])
def test_the_heat_is_where_the_crack_is(row: int, column: int) -> None:
    patch = _spotted(row * STRIDE, column * STRIDE)
    (heat,) = occlusion_maps(patch[None], _darkness, WINDOW, STRIDE)
    assert heat.shape == (CELLS, CELLS)
    assert np.unravel_index(heat.argmax(), heat.shape) == (row, column)
    assert heat[row, column] > 2
    rows, columns = np.indices(heat.shape)
    away = np.maximum(abs(rows - row), abs(columns - column)) > 3
    assert np.abs(heat[away]).max() < 0.1


def test_each_patch_has_its_own_map() -> None:
    patches = np.stack([_spotted(0, 0), _spotted(72, 72), _clean()])
    maps = occlusion_maps(patches, _darkness, WINDOW, STRIDE)
    assert maps.shape == (3, CELLS, CELLS)
    assert maps.dtype == np.float32
    assert maps[0].argmax() == 0
    assert maps[1].argmax() == CELLS**2 - 1
    alone = occlusion_maps(patches[1:2], _darkness, WINDOW, STRIDE)
    np.testing.assert_array_equal(maps[1], alone[0])


@pytest.mark.parametrize("seed", range(4))
def test_covering_clean_concrete_makes_no_crack(seed: int) -> None:
    (heat,) = occlusion_maps(_clean(seed)[None], _darkness, WINDOW, STRIDE)
    assert np.abs(heat).max() < 0.1


def _steepness(batches: Iterable[Pixels]) -> Scores:
    """Score by the steepest step between neighbours, which straight edges of a square have."""
    greys = (patch.mean(axis=2) for batch in batches for patch in batch)
    return np.array([np.abs(np.diff(grey, axis=1)).max() / 256 for grey in greys])


@pytest.mark.parametrize("seed", range(4))
def test_the_cover_has_no_hard_edge_even_under_slanting_light(seed: int) -> None:
    light = np.linspace(0.6, 1.4, SIZE)[None, :, None]
    patch = (_clean(seed) * light).clip(0, 255).astype(np.uint8)
    (heat,) = occlusion_maps(patch[None], _steepness, WINDOW, STRIDE)
    assert heat.min() > -0.2


def test_a_place_that_speaks_against_a_crack_is_negative() -> None:
    def hides_dark(batches: Iterable[Pixels]) -> Scores:
        return 1 - _darkness(batches)

    (heat,) = occlusion_maps(_spotted(36, 36)[None], hides_dark, WINDOW, STRIDE)
    assert np.unravel_index(heat.argmin(), heat.shape) == (3, 3)
    assert heat.min() < -2


@pytest.mark.parametrize("score", [0.0, 0.3, 1.0])
def test_a_scorer_that_never_looks_has_no_heat_even_if_it_is_certain(score: float) -> None:
    def predict(batches: Iterable[Pixels]) -> Scores:
        return np.full(sum(len(batch) for batch in batches), score)

    maps = occlusion_maps(_spotted(0, 0)[None], predict, WINDOW, STRIDE)
    np.testing.assert_array_equal(maps, 0)


def test_all_places_of_all_patches_go_through_one_stream_of_small_batches() -> None:
    calls: list[int] = []

    def predict(batches: Iterable[Pixels]) -> Scores:
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= occlusion.BATCH_SIZE
        calls.append(sum(sizes))
        return np.full(sum(sizes), 0.5)

    occlusion_maps(np.stack([_clean(), _clean(1)]), predict, WINDOW, STRIDE)
    assert calls == [2 * (1 + CELLS**2)]


@pytest.mark.parametrize(
    ("size", "window", "stride"), [(227, 75, 28), (227, 59, 24), (64, 20, 20), (50, 50, 10)]
)
def test_covered_squares_reach_from_edge_to_edge_without_a_wider_step(
    size: int, window: int, stride: int
) -> None:
    starts = np.array(places(size, window, stride))
    assert starts[0] == 0
    assert starts[-1] == size - window
    assert (np.diff(starts) <= stride).all()


def test_a_covered_patch_is_as_it_was_away_from_the_cover_and_has_no_crack_under_it() -> None:
    patch = _spotted(36, 36)
    seen: list[Pixels] = []

    def predict(batches: Iterable[Pixels]) -> Scores:
        seen.extend(patch for batch in batches for patch in batch)
        return np.full(len(seen), 0.5)

    occlusion_maps(patch[None], predict, WINDOW, STRIDE)
    assert np.array_equal(seen[0], patch)
    covered = seen[1 + 3 * CELLS + 3]
    inside: npt.NDArray[np.bool_] = np.zeros((SIZE, SIZE), np.bool_)
    reach = occlusion.SEAM
    inside[36 - reach : 60 + reach, 36 - reach : 60 + reach] = True
    assert np.array_equal(covered[~inside], patch[~inside])
    assert patch[36:60, 36:60].min() == 15
    assert covered[36:60, 36:60].min() > 60


def test_the_maps_are_drawn_over_their_patches(tmp_path: Path) -> None:
    patches = np.stack([_spotted(12 * i, 12 * i) for i in range(7)])
    maps = occlusion_maps(patches, _darkness, WINDOW, 36)
    draw_occlusion(patches, maps, WINDOW, np.full(7, 0.9), ["crack"] * 7, tmp_path)
    drawn = np.asarray(Image.open(tmp_path / "occlusion.png").convert("RGB")).astype(int)
    # The patches are grey, so what is redder than blue is heat.
    assert (drawn[..., 0] - drawn[..., 2] > 60).mean() > 0.005
