"""Each site left out: a site is measured by what the others teach, and by nothing of its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from cracks.dataset.labels import SPLITS
from cracks.evaluation.cross_validation import NO_FOLD, scores_by_fold
from cracks.evaluation.metrics import Cracked
from cracks.evaluation.sites_left_out import LeftOut, measure_sites_left_out
from cracks.training.features.arrays import FeatureRows, SplitFeatures

#: Channels: the first tells cracks at every site but the strange one, which has them in the second.
PATCHES, CHANNELS = 600, 4
SITE = np.array(["bridge", "pier", "strange"])[np.arange(PATCHES) % 3]


def _measured(cracked: Cracked, site: np.ndarray = SITE, most: int = 12) -> LeftOut:
    random = np.random.default_rng(0)
    features = random.normal(0, 0.5, (len(site), CHANNELS)).astype(np.float32)
    shown = np.where(site == "strange", 1, 0)
    features[np.arange(len(site)), shown] += 3 * cracked
    ids = [f"{number:04}" for number in range(len(site))]
    part = np.arange(len(site)) // 5 % 3
    parts = {
        split: SplitFeatures(
            split,
            [ids[i] for i in np.flatnonzero(part == number)],
            cracked[part == number],
            [ids[i] for i in np.flatnonzero(part == number)],
            FeatureRows.of(features[part == number]),
        )
        for number, split in enumerate(SPLITS)
    }
    return measure_sites_left_out(parts, pa.table({"id": ids, "site": site.tolist()}), most)


EVEN = np.arange(PATCHES) // 3 % 2 == 0


def test_a_site_that_the_others_do_not_teach_is_found() -> None:
    measured = _measured(EVEN)
    recall = {row["slice"]: row["crack_recall"] for row in measured.rows}
    assert recall["site left out strange"] < 0.5
    assert min(recall[f"site left out {site}"] for site in ("bridge", "pier")) > 0.9
    report = measured.report()
    assert (report["sites"], report["not_measured"]) == (3, {})
    assert report["lowest_crack_recall"] == recall["site left out strange"]
    assert [row["patches"] for row in measured.rows] == [200, 200, 200]


def test_rare_cracks_are_found_too() -> None:
    measured = _measured(np.arange(PATCHES) // 3 % 20 == 0)
    assert min(row["crack_recall"] for row in measured.rows if "strange" not in row["slice"]) > 0.8


def test_of_one_site_there_is_nothing_to_leave_out() -> None:
    assert _measured(EVEN, np.full(PATCHES, "pier")) == LeftOut([], {})


def test_sites_that_are_not_left_out_are_named_with_the_reason() -> None:
    few = _measured(EVEN, most=2)
    assert len(few.rows) == 2
    assert list(few.not_measured.values()) == ["only the 2 largest sites are left out"]
    only_there = _measured(EVEN & (SITE == "pier"))
    assert only_there.not_measured == {"pier": "without it one of the labels does not occur"}
    # Where there are no cracks, none can be found.
    assert {row["crack_recall"] for row in only_there.rows} == {None}
    assert "lowest_crack_recall" not in only_there.report()


@pytest.mark.parametrize("balanced", [False, True])
def test_a_fold_is_not_scored_by_its_own_labels(balanced: bool) -> None:
    random = np.random.default_rng(1)
    features = [random.normal(0, 1, (100, 500)).astype(np.float32) for _ in range(2)]
    cracked, fold = random.random(200) < 0.5, np.arange(200) % 2
    alone = [f"patch {number}" for number in range(200)]
    scores = scores_by_fold(features, cracked, fold, alone, balanced=balanced)
    flipped = np.where(fold == 0, ~cracked, cracked)
    again = scores_by_fold(features, flipped, fold, alone, balanced=balanced)
    np.testing.assert_allclose(scores[fold == 0], again[fold == 0], atol=1e-5)
    nowhere = scores_by_fold(features, cracked, np.full(200, NO_FOLD), alone, balanced=balanced)
    assert (nowhere == 0.5).all()


def test_a_copy_of_a_held_out_patch_is_not_learned_from() -> None:
    random = np.random.default_rng(2)
    features = random.normal(0, 1, (200, 500)).astype(np.float32)
    cracked, fold = random.random(200) < 0.5, np.where(np.arange(200) < 20, 0, NO_FOLD)
    groups = [f"patch {number % 180}" for number in range(200)]  # the last show the first
    features[180:] = features[:20]
    scores = scores_by_fold([features], cracked, fold, groups)
    flipped = np.where(np.arange(200) < 180, cracked, ~cracked)
    again = scores_by_fold([features], flipped, fold, groups)
    np.testing.assert_allclose(scores[:20], again[:20], atol=1e-5)
