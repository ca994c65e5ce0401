"""The drawn sample: the same for everyone, decodable, balanced, and not solvable by a shortcut."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from cracks.images import synthetic_concrete as sample
from cracks.images.synthetic_canvas import PATCH_SIZE
from tests.unit.builders import surface

PATCHES = 1000  # enough that chance alone keeps an area under the curve within 0.04 of one half


class Drawn(NamedTuple):
    names: list[str]
    pixels: npt.NDArray[np.uint8]  # (PATCHES, 227, 227, 3)
    cracked: npt.NDArray[np.bool_]  # (PATCHES,)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    names, files = zip(*sample.draw_sample(PATCHES, seed=11), strict=True)
    pixels = np.stack([np.asarray(_opened(file)) for file in files])
    return Drawn(list(names), pixels, np.array([name.startswith("Positive/") for name in names]))


def _opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


def _area_under_curve(drawn: Drawn, statistic: npt.NDArray[np.floating]) -> float:
    area = float(roc_auc_score(drawn.cracked, statistic))
    return max(area, 1 - area)


def test_the_same_seed_draws_the_same_bytes() -> None:
    assert list(sample.draw_sample(12, seed=3)) == list(sample.draw_sample(12, seed=3))


def test_another_seed_draws_other_patches() -> None:
    first, second = (dict(sample.draw_sample(8, seed)) for seed in (3, 4))
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_a_bigger_sample_contains_the_smaller_one() -> None:
    smaller, bigger = (dict(sample.draw_sample(patches, seed=3)) for patches in (6, 16))
    assert smaller.items() <= bigger.items()


def test_no_two_patches_are_alike() -> None:
    files = [file for _, file in sample.draw_sample(40, seed=3)]
    assert len(set(files)) == len(files)


def test_every_patch_is_a_jpeg_of_227_by_227_in_colour() -> None:
    for _, file in sample.draw_sample(10, seed=3):
        patch = _opened(file)
        assert (patch.format, patch.mode, patch.size) == ("JPEG", "RGB", (227, 227))
        patch.load()


def test_half_of_the_sample_is_clean_and_it_comes_photograph_by_photograph() -> None:
    names = [name for name, _ in sample.draw_sample(9, seed=3)]
    assert names == [
        "Negative/00001.jpg",
        "Negative/00002.jpg",
        "Negative/00003.jpg",
        "Positive/00001.jpg",
        "Positive/00002.jpg",
        "Positive/00003.jpg",
        "Negative/00004.jpg",
        "Positive/00004.jpg",
    ]
    assert [origin.name for origin in sample.origins_of_sample(9)] == names


# --- photographs and sites ------------------------------------------------------------------------


def test_the_origins_say_which_patches_are_neighbours_in_one_photograph(drawn: Drawn) -> None:
    # Rows of a photograph go on at the cut; those of another photograph do not.
    photo_of = {origin.name: origin.photo for origin in sample.origins_of_sample(PATCHES)}
    jumps: dict[bool, list[float]] = {True: [], False: []}
    for left, right in pairwise(np.flatnonzero(~drawn.cracked)):
        edges = drawn.pixels[left][:, -4:], drawn.pixels[right][:, :4]
        there, here = (edge.astype(float).mean(axis=(1, 2)) for edge in edges)
        same = photo_of[drawn.names[left]] == photo_of[drawn.names[right]]
        jumps[same].append(float(np.abs(there - here).mean()))
    assert np.quantile(jumps[True], 0.95) < np.quantile(jumps[False], 0.5)


def test_each_photograph_is_of_one_site_and_every_site_has_as_many_photographs() -> None:
    origins = sample.origins_of_sample(6 * 2 * sample.SITES)
    site_of = dict({(origin.photo, origin.site) for origin in origins})
    assert {(origin.photo, origin.site) for origin in origins} == set(site_of.items())
    assert sorted(Counter(site_of.values()).values()) == [2] * sample.SITES


def test_photographs_of_one_site_look_more_alike_than_those_of_two(drawn: Drawn) -> None:
    sites = np.array([origin.site for origin in sample.origins_of_sample(PATCHES)])
    grey = drawn.pixels[:, ::3, ::3].mean(axis=(1, 2, 3))
    within = np.mean([grey[sites == site].std() for site in set(sites)])
    assert within < 0.5 * grey.std()


def test_a_photograph_is_not_taken_at_the_time_of_another() -> None:
    taken = {(origin.photo, origin.taken) for origin in sample.origins_of_sample(600)}
    assert len({time for _, time in taken}) == len(taken) == 100


@pytest.mark.parametrize("patches", [1, 0, -4])
def test_a_sample_without_both_labels_is_refused_before_anything_is_drawn(patches: int) -> None:
    with pytest.raises(ValueError, match="ask for 2 or more"):
        sample.draw_sample(patches, seed=3)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed of a sample must be 0 or more"):
        sample.draw_sample(4, seed=-1)


def test_brightness_contrast_and_colour_do_not_tell_the_labels_apart(drawn: Drawn) -> None:
    pixels = drawn.pixels[:, ::3, ::3].astype(np.float32)  # a ninth says as much, in less time
    grey = pixels.mean(axis=3)
    red, green, blue = pixels.mean(axis=(1, 2)).T
    statistics = {
        "brightness": grey.mean(axis=(1, 2)),
        "contrast": grey.std(axis=(1, 2)),
        "red": red,
        "green": green,
        "blue": blue,
        "warmth": red - blue,
    }
    areas = {name: _area_under_curve(drawn, values) for name, values in statistics.items()}
    assert max(areas.values()) < 0.65, areas


def test_the_darkest_pixels_alone_do_not_tell_the_labels_apart(drawn: Drawn) -> None:
    darkest = np.percentile(drawn.pixels[:, ::3, ::3].mean(axis=3), 1, axis=(1, 2))
    assert _area_under_curve(drawn, darkest) < 0.70


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("regularisation", [1e-4, 1e-2])
def test_a_linear_model_on_raw_pixels_cannot_separate_the_sample(
    drawn: Drawn, mode: str, regularisation: float
) -> None:
    # An easy sample would prove nothing: a broken network, a skipped preprocessing step or an
    # untrained head would pass on it too. Only a model that looks at shapes may do well here.
    inputs = np.stack([_thumbnail(patch, mode) for patch in drawn.pixels])
    order = np.random.default_rng(0).permutation(PATCHES)
    train, test = order[: PATCHES * 3 // 4], order[PATCHES * 3 // 4 :]
    scaler = StandardScaler().fit(inputs[train])
    model = LogisticRegression(C=regularisation, max_iter=200)
    model.fit(scaler.transform(inputs[train]), drawn.cracked[train])
    assert model.score(scaler.transform(inputs[test]), drawn.cracked[test]) < 0.80


def _thumbnail(patch: npt.NDArray[np.uint8], mode: str) -> npt.NDArray[np.float32]:
    small = Image.fromarray(patch).convert(mode).resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32).ravel()


def _concrete(seed: int, size: int = PATCH_SIZE) -> npt.NDArray[np.uint8]:
    return np.repeat(surface(seed, size=size)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("seed", range(6))
def test_a_crack_drawn_on_a_patch_is_a_dark_line_and_leaves_the_rest_as_it_is(seed: int) -> None:
    clean = _concrete(seed)
    change = sample.draw_crack_on(clean, np.random.default_rng(seed)).astype(int) - clean
    assert change.min() < -40
    assert 0.002 < (change < -20).any(axis=2).mean() < 0.25
    assert (change == 0).mean() > 0.6


def test_the_same_chance_draws_the_same_crack_and_the_patch_below_is_not_touched() -> None:
    clean = _concrete(3)
    before = clean.copy()
    first, second = (sample.draw_crack_on(clean, np.random.default_rng(8)) for _ in range(2))
    other = sample.draw_crack_on(clean, np.random.default_rng(9))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(clean, before)


@pytest.mark.parametrize("size", [64, 300])
def test_a_crack_is_drawn_on_a_patch_of_any_size(size: int) -> None:
    clean = _concrete(1, size)
    cracked = sample.draw_crack_on(clean, np.random.default_rng(1))
    assert (cracked.shape, cracked.dtype) == (clean.shape, np.uint8)
    assert (clean.astype(int) - cracked).max() > 40


def test_black_and_white_stay_within_range_under_a_crack() -> None:
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    assert sample.draw_crack_on(black, np.random.default_rng(1)).max() == 0
    drawn = sample.draw_crack_on(white, np.random.default_rng(1))
    assert (drawn == 255).mean() > 0.5
