"""Novelty: what is far from the training data is flagged, and no more of the rest than promised."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cracks.errors import BundleError, DataError
from cracks.inference.bundle.novelty import Novelty, calibrated_limit, fit_novelty, load_novelty

WIDTH = 40

Rows = npt.NDArray[np.float32]


def features_like_concrete(count: int, seed: int, width: int = WIDTH) -> Rows:
    """Return rectified features of two kinds of patches, as a network computes them."""
    rng = np.random.default_rng(seed)
    structure = np.random.default_rng(99).normal(0, 1, (2, 6, width))
    kind = rng.integers(0, 2, count)
    rows = np.einsum("nk,nkd->nd", rng.normal(1, 0.4, (count, 6)), structure[kind])
    return np.maximum(rows + rng.normal(0, 0.1, rows.shape) + 1, 0).astype(np.float32)


def features_of_something_else(count: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(7).normal(0, 1, WIDTH)
    rows = 2 * direction + rng.normal(0, 0.3, (count, WIDTH)) + 1
    return np.maximum(rows, 0).astype(np.float32)


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return fit_novelty(features_like_concrete(600, 1), features_like_concrete(1500, 2))


@pytest.fixture
def saved(novelty: Novelty, tmp_path: Path) -> Path:
    novelty.save(tmp_path / "novelty.npz")
    return tmp_path / "novelty.npz"


# --- what is flagged ------------------------------------------------------------------------------


def test_what_is_unlike_the_training_data_is_flagged(novelty: Novelty) -> None:
    assert novelty.flagged(features_of_something_else(200, 3)).all()


def test_of_unseen_patches_alike_no_more_than_promised_are_flagged(novelty: Novelty) -> None:
    assert novelty.flagged(features_like_concrete(5000, 4)).mean() <= 0.01


def test_the_farther_from_the_training_data_the_larger_the_distance(novelty: Novelty) -> None:
    here, there = features_like_concrete(1, 5), features_of_something_else(1, 5)
    way = [novelty.distance(here * (1 - step) + there * step)[0] for step in (0, 0.3, 0.6, 1)]
    assert way == sorted(way)
    assert way[0] < novelty.limit < way[-1]


def test_a_patch_exactly_at_the_limit_is_not_flagged(novelty: Novelty) -> None:
    rows = features_like_concrete(3, 6)
    at = dataclasses.replace(novelty, limit=float(novelty.distance(rows)[1]))
    assert not at.flagged(rows)[1]
    assert dataclasses.replace(at, limit=at.limit - 1e-4).flagged(rows)[1]


def test_how_strong_all_features_are_together_does_not_count(novelty: Novelty) -> None:
    rows = features_like_concrete(20, 8)
    np.testing.assert_allclose(novelty.distance(rows * 3), novelty.distance(rows), atol=1e-3)


def test_a_patch_has_one_distance_whatever_stands_beside_it(novelty: Novelty) -> None:
    rows = features_like_concrete(3000, 9)
    alone = [novelty.distance(rows[i : i + 1])[0] for i in (0, 1, 2047, 2048, 2999)]
    np.testing.assert_allclose(novelty.distance(rows)[[0, 1, 2047, 2048, 2999]], alone, atol=2e-5)


def test_no_patches_have_no_distances(novelty: Novelty) -> None:
    assert novelty.distance(np.zeros((0, WIDTH), np.float32)).shape == (0,)


def test_features_that_are_always_zero_do_no_harm_until_they_wake(novelty: Novelty) -> None:
    def widened(rows: Rows) -> Rows:
        return np.hstack([rows, np.zeros((len(rows), 20), np.float32)])

    wide = fit_novelty(
        widened(features_like_concrete(600, 1)), widened(features_like_concrete(1500, 2))
    )
    rows = widened(features_like_concrete(400, 4))
    assert wide.flagged(rows).mean() <= 0.02
    assert wide.flagged(widened(features_of_something_else(50, 3))).all()
    rows[:, -1] = 5
    assert wide.flagged(rows).all()


def test_a_network_that_computes_the_same_for_all_flags_nothing_but_other_features() -> None:
    same = np.full((100, 5), 0.5, np.float32)
    novelty = fit_novelty(same, same[:50])
    assert not novelty.flagged(same).any()
    assert novelty.flagged(np.float32([[1, 0, 0, 0, 0]])).all()


@pytest.mark.parametrize("patches", [2, 3, 10, 60])
def test_a_handful_of_patches_is_described_too(patches: int) -> None:
    few = fit_novelty(features_like_concrete(patches, 1), features_like_concrete(2, 2))
    assert np.isfinite(few.distance(features_of_something_else(5, 3))).all()
    assert np.isfinite(few.limit)


# --- the limit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("patches", [500, 1000])
def test_nearly_every_calibration_keeps_the_promise_on_exchangeable_patches(patches: int) -> None:
    rng = np.random.default_rng(0)
    # The distances are uniform in [0, 1): the share beyond a limit is 1 - limit.
    shares = [1 - calibrated_limit(rng.random(patches), None, 0.02, seed) for seed in range(30)]
    assert np.mean(np.array(shares) > 0.02) <= 0.1
    assert np.mean(shares) > 0.001, "so careful that nothing would ever be flagged"


def test_patches_that_stand_and_fall_together_make_the_limit_more_careful() -> None:
    rng = np.random.default_rng(1)
    photographs = [str(i) for i in range(150) for _ in range(10)]
    together, alone = [], []
    for seed in range(20):
        distances = np.repeat(rng.random(150), 10) + rng.normal(0, 0.001, 1500)
        together.append(calibrated_limit(distances, photographs, 0.05, seed))
        alone.append(calibrated_limit(distances, None, 0.05, seed))
    assert np.mean(together) > np.mean(alone) + 0.01


def test_without_enough_patches_for_a_promise_the_farthest_is_the_limit() -> None:
    assert calibrated_limit(np.array([3.0, 1.0, 2.0]), None, 0.01) == 3.0


def test_a_larger_share_gives_a_nearer_limit() -> None:
    distances = np.random.default_rng(2).random(2000)
    limits = [calibrated_limit(distances, None, share) for share in (0.001, 0.01, 0.1)]
    assert limits == sorted(limits, reverse=True)
    assert len(set(limits)) == 3


def test_the_order_of_the_patches_does_not_move_the_limit() -> None:
    rng = np.random.default_rng(3)
    distances, order = rng.random(400), rng.permutation(400)
    groups = [f"{i // 4:03}" for i in range(400)]
    assert calibrated_limit(distances, groups, 0.05) == calibrated_limit(
        distances[order], [groups[i] for i in order], 0.05
    )


# --- the file -------------------------------------------------------------------------------------


def test_what_was_saved_flags_as_before(novelty: Novelty, saved: Path) -> None:
    rows = np.vstack([features_like_concrete(50, 5), features_of_something_else(50, 5)])
    loaded = load_novelty(saved)
    np.testing.assert_array_equal(loaded.distance(rows), novelty.distance(rows))
    assert loaded.limit == novelty.limit


def test_fitted_again_and_saved_later_it_has_the_same_bytes(saved: Path) -> None:
    again = fit_novelty(features_like_concrete(600, 1), features_like_concrete(1500, 2))
    again.save(saved.with_name("again.npz"))
    load_novelty(saved).save(saved.with_name("resaved.npz"))
    for name in ("again.npz", "resaved.npz"):
        assert saved.with_name(name).read_bytes() == saved.read_bytes(), name
    with zipfile.ZipFile(saved) as archive:
        assert {member.date_time[:3] for member in archive.infolist()} == {(1980, 1, 1)}


def test_another_seed_may_give_another_limit_but_misses_nothing() -> None:
    other = fit_novelty(features_like_concrete(600, 1), features_like_concrete(1500, 2), seed=5)
    assert other.flagged(features_of_something_else(50, 3)).all()


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as refusal:
        load_novelty(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_a_missing_file_is_refused_with_what_makes_one(tmp_path: Path) -> None:
    assert "is missing. `dvc repro export`" in refused(tmp_path / "novelty.npz")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * share)])
    refused(saved)


def test_a_flipped_byte_anywhere_is_refused_or_harmless(saved: Path, novelty: Novelty) -> None:
    whole, rows = saved.read_bytes(), features_like_concrete(5, 1)
    for place in np.random.default_rng(0).integers(0, len(whole), 300):
        altered = bytearray(whole)
        altered[place] ^= 0x55
        saved.write_bytes(altered)
        try:
            loaded = load_novelty(saved)
        except BundleError:
            continue
        np.testing.assert_array_equal(loaded.distance(rows), novelty.distance(rows))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("limit", np.nan, "limit holds numbers that are not finite"),
        ("mean", np.zeros(3, np.float32), r"mean is float32 \(3,\), not numbers \(40,\)"),
        ("narrow", np.zeros(4, np.float32), "without a spread"),
        ("own", np.zeros((2, 3), np.float32), "."),
        ("centres", np.array(["a"]), "centres is <U1"),
        ("centres", np.array([{}], object), "."),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    saved: Path, name: str, value: Any, reason: str
) -> None:
    with np.load(saved) as file:
        arrays = dict(file)
    buffer = io.BytesIO()
    np.savez(buffer, **(arrays | {name: value}))
    saved.write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match=reason):
        load_novelty(saved)
    refused(saved)


def test_a_file_that_lacks_a_part_or_is_no_archive_is_refused(saved: Path) -> None:
    with np.load(saved) as file:
        arrays = {name: file[name] for name in file.files if name != "own"}
    np.savez(saved, **arrays)
    assert "own" in refused(saved)
    with saved.open("wb") as file:
        np.save(file, np.zeros(4))
    refused(saved)


# --- features that say nothing --------------------------------------------------------------------


def test_features_of_another_network_are_refused_by_their_width(novelty: Novelty) -> None:
    with pytest.raises(DataError, match=r"fitted on features of width 40, not of shape \(2, 41\)"):
        novelty.flagged(np.zeros((2, 41), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(novelty: Novelty, value: float) -> None:
    rows = features_like_concrete(5, 1)
    rows[3, 2] = value
    with pytest.raises(DataError, match="not finite"):
        novelty.distance(rows)
    with pytest.raises(DataError, match="not finite"):
        fit_novelty(rows, features_like_concrete(5, 2))


@pytest.mark.parametrize(("train", "validation"), [(1, 5), (5, 0)])
def test_without_patches_nothing_is_described(train: int, validation: int) -> None:
    rows = features_like_concrete(5, 1)
    with pytest.raises(DataError, match=f"not {train} and {validation}"):
        fit_novelty(rows[:train], rows[:validation])
