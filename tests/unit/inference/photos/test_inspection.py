"""The inspection of a photograph: what its tiles say becomes places, shares and sizes."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cracks.images.decode import Pixels
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.bundle.classifier import Measured
from cracks.inference.photos.heat_map import heat_map
from cracks.inference.photos.inspection import PhotoInspection, inspect_photo
from cracks.inference.photos.regions import connected_regions
from cracks.inference.photos.tiling import Tiling
from tests.unit.builders import sealed_bundle

SIZE = 32


class Darkness:
    """Scores by the share of black pixels times ten, and finds red novel."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def measure_pixels(self, batches: Iterable[Pixels]) -> Measured:
        patches = np.concatenate(list(batches))
        scores = np.minimum(1, 10 * (patches.max(axis=3) < 50).mean(axis=(1, 2)))
        red = (patches[..., 0] > patches[..., 1]).mean(axis=(1, 2))
        return Measured(scores / 2, scores, 2 * red, patches.mean(axis=(1, 2), dtype=np.float32))


@pytest.fixture(scope="module")
def darkness(tmp_path_factory: pytest.TempPathFactory) -> Darkness:
    return Darkness(sealed_bundle(tmp_path_factory.mktemp("darkness") / "bundle"))


def photo(width: int = 300, height: int = 200) -> Pixels:
    return np.full((height, width, 3), 150, np.uint8)


def cracked(darkness: Darkness, mm_per_px: float | None = None) -> PhotoInspection:
    """Return the inspection of a photograph with one black line."""
    pixels = photo()
    pixels[100:104, 120:180] = 0
    return inspect_photo(darkness, pixels, mm_per_px=mm_per_px)


def test_a_clean_photograph_has_no_region_and_no_cracked_area(darkness: Darkness) -> None:
    found = inspect_photo(darkness, photo())
    assert (found.label, found.score, found.heat.crack_share) == ("no crack", 0, 0)
    assert found.regions == []


def test_a_crack_is_one_region_within_a_patch_of_it(darkness: Darkness) -> None:
    found = cracked(darkness)
    assert (found.label, found.score) == ("crack", 1)
    (region,) = found.regions
    assert region["x"] <= 120 < 180 <= region["x"] + region["width"]
    assert region["y"] <= 100 < 104 <= region["y"] + region["height"]
    assert region["x"] >= 120 - SIZE
    assert region["y"] >= 100 - SIZE
    assert region["width"] <= 60 + 2 * SIZE
    assert region["height"] <= 4 + 2 * SIZE
    assert region["score"] == found.score
    assert 0 < found.heat.crack_share < 0.2


def test_two_cracks_far_apart_are_two_regions_the_surer_one_first(darkness: Darkness) -> None:
    pixels = photo()
    pixels[20:22, 20:60] = 0
    pixels[150:160, 240:280] = 0
    first, second = inspect_photo(darkness, pixels).regions
    assert first["score"] >= second["score"]
    assert {first["x"] > 150, second["x"] > 150} == {True, False}


def test_sizes_are_told_where_the_scale_is_known(darkness: Darkness) -> None:
    unknown, known = cracked(darkness), cracked(darkness, mm_per_px=0.5)
    assert unknown.crack_area_cm2 is None
    assert unknown.regions[0]["width_mm"] is None
    assert known.crack_area_cm2 == pytest.approx(known.heat.crack_share * 150 * 100 / 100)
    assert known.regions[0]["width_mm"] == known.regions[0]["width"] / 2
    assert known.regions[0]["height_mm"] == known.regions[0]["height"] / 2


def test_a_photograph_is_novel_if_most_of_its_tiles_are(darkness: Darkness) -> None:
    pixels = photo()
    pixels[:, :100, 0] = 255
    some = inspect_photo(darkness, pixels)
    assert 0 < (some.novel_share or 0) < 0.5
    assert some.novel is False
    pixels[..., 0] = 255
    assert inspect_photo(darkness, pixels).novel is True


def test_of_a_bundle_that_cannot_tell_nothing_is_said_of_novelty(darkness: Darkness) -> None:
    class Unknowing(Darkness):
        def measure_pixels(self, batches: Iterable[Pixels]) -> Measured:
            measured = super().measure_pixels(batches)
            return Measured(measured.raw, measured.scores, None, None)

    found = inspect_photo(Unknowing(darkness.bundle), photo())
    assert (found.novel, found.novel_share, found.tiles()[0]["novel"]) == (None, None, None)


def test_the_document_is_json_and_names_every_tile(darkness: Darkness) -> None:
    found = cracked(darkness, mm_per_px=0.5)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(document["tiles"]) == len(found.tiling)
    assert document["score"] == max(tile["score"] for tile in document["tiles"])
    assert (document["width"], document["height"]) == (300, 200)
    assert document["tile_size"] == SIZE


def test_how_far_it_is_is_told_and_may_end_it(darkness: Darkness) -> None:
    counts: list[int] = []
    found = inspect_photo(darkness, photo(), advance=counts.append)
    assert sum(counts) == len(found.tiling)

    def give_up(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_photo(darkness, photo(), advance=give_up)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10, 300), (300, 10), (33, 31)])
def test_photographs_of_any_shape_are_inspected(
    darkness: Darkness, width: int, height: int
) -> None:
    found = inspect_photo(darkness, np.zeros((height, width, 3), np.uint8))
    assert (found.label, found.heat.crack_share) == ("crack", 1)
    (region,) = found.regions
    assert (region["width"], region["height"]) == (width, height)


# --- the heat map ---------------------------------------------------------------------------------


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    overlap=st.floats(0, 0.75),
    seed=st.integers(0, 99),
)
def test_no_tile_that_says_crack_is_missing_on_the_map(
    width: int, height: int, overlap: float, seed: int
) -> None:
    tiling = Tiling(width, height, SIZE, overlap)
    scores = np.random.default_rng(seed).random(len(tiling)) ** 4
    heat = heat_map(tiling, scores, 0.5)
    assert np.isfinite(heat.heat).all()
    assert scores.min() - 1e-9 <= heat.heat.min() <= heat.heat.max() <= scores.max() + 1e-9
    assert bool((scores >= 0.5).any()) == (heat.crack_share > 0)
    assert (heat.widths.sum(), heat.heights.sum()) == (width, height)
    grid = np.repeat(np.repeat(heat.cracked, heat.heights, 0), heat.widths, 1)
    for (x, y, w, h), score in zip(tiling.boxes.tolist(), scores, strict=True):
        assert score < 0.5 or grid[y : y + h, x : x + w].any()


def test_equal_tiles_give_an_even_map() -> None:
    tiling = Tiling(500, 300, SIZE, 0.5)
    heat = heat_map(tiling, np.full(len(tiling), 0.7), 0.5)
    assert heat.heat == pytest.approx(0.7)
    assert heat.crack_share == 1


# --- regions --------------------------------------------------------------------------------------


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_regions_are_what_flooding_from_each_cell_finds(marked: npt.NDArray[np.bool_]) -> None:
    assert sorted(connected_regions(marked)) == sorted(_flooded(marked))


def _flooded(marked: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    left = {(int(row), int(column)) for row, column in np.argwhere(marked)}
    boxes = []
    while left:
        waiting, found = [left.pop()], []
        while waiting:
            row, column = waiting.pop()
            found.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            waiting += near
        rows, columns = zip(*found, strict=True)
        boxes.append((min(rows), min(columns), max(rows) + 1, max(columns) + 1))
    return boxes
