"""Likely label errors: found on scores that no label had a part in, and shown worst first."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.evaluation.label_errors import (
    COLUMNS,
    KEY_COLUMNS,
    Examined,
    examine_held_out,
    examine_out_of_fold,
    likely_label_errors,
    out_of_fold_scores,
    rows_to_review,
    suspects,
)
from cracks.evaluation.metrics import Cracked, Scores
from cracks.training.features.arrays import FeatureRows, SplitFeatures

Features = npt.NDArray[np.float32]


def _names(count: int) -> list[str]:
    return [f"patch{i:04}" for i in range(count)]


def _noise(count: int, channels: int, seed: int = 0) -> Features:
    return np.random.default_rng(seed).standard_normal((count, channels)).astype(np.float32)


def _telling(cracked: Cracked, channels: int = 16) -> Features:
    """Return features of which half tell the label."""
    features = _noise(len(cracked), channels)
    features[:, ::2] += np.where(cracked, 4, -4)[:, None]
    return features


def _parts(features: Features, cracked: Cracked) -> dict[str, SplitFeatures]:
    """Assign patches to three splits in turn."""
    names = np.array(_names(len(cracked)))
    return {
        split: SplitFeatures(
            split=split,
            ids=names[i::3].tolist(),
            cracked=cracked[i::3],
            groups=names[i::3].tolist(),
            features=FeatureRows.of(features[i::3]),
        )
        for i, split in enumerate(("train", "validation", "test"))
    }


def _tables(count: int) -> tuple[pa.Table, pa.Table]:
    """Return a table of splits and a manifest."""
    names = _names(count)
    return (
        pa.table({"id": names, "group": names}),
        pa.table({"id": names, "path": [f"Positive/{name}.jpg" for name in names]}),
    )


def _sure(cracked: Cracked, scores: Scores) -> float:
    """Return the share of the patches that are scored as they are labelled."""
    return float(((scores > 0.5) == cracked).mean())


def test_flipped_labels_are_found_in_every_split_and_hardly_any_other() -> None:
    truth = np.arange(900) % 2 == 0
    flipped = np.random.default_rng(1).choice(900, 60, replace=False)
    labels = truth.copy()
    labels[flipped] ^= True
    splits, manifest = _tables(900)
    examined = examine_out_of_fold(_parts(_telling(truth), labels), splits)
    rows = suspects(rows_to_review(examined, manifest))
    found = {row["id"] for row in rows}
    wrong = {_names(900)[i] for i in flipped}
    assert len(found & wrong) >= 54
    assert len(found - wrong) <= 2
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    assert examined.how == "out of fold"


def _doubted() -> Examined:
    """Return 60 patches of which three are scored against their labels, one in each split."""
    cracked = np.array([True] * 30 + [False] * 30)
    scores = np.where(cracked, 0.9, 0.1)
    scores[3], scores[40], scores[50] = 0.02, 0.951234567, 0.99
    parts = _parts(_noise(60, 2), cracked)
    by_split = {split: scores[i::3] for i, split in enumerate(parts)}
    # The scores may come in any order of the splits.
    return examine_held_out(parts, dict(reversed(by_split.items())))


def test_a_row_says_which_patch_it_is_and_what_speaks_against_its_label() -> None:
    examined = _doubted()
    assert examined.how == "held out"
    rows = suspects(rows_to_review(examined, _tables(60)[1]))
    shown = [[row[name] for name in ("id", "path", "label", "split", "score")] for row in rows]
    assert shown == [
        ["patch0050", "Positive/patch0050.jpg", "no crack", "test", 0.99],
        ["patch0003", "Positive/patch0003.jpg", "crack", "train", 0.02],
        ["patch0040", "Positive/patch0040.jpg", "no crack", "validation", 0.95123],
    ]
    assert all({*COLUMNS, *KEY_COLUMNS} == row.keys() for row in rows)


def test_with_each_suspect_comes_a_patch_that_nobody_suspects_and_nothing_tells_them_apart() -> (
    None
):
    rows = rows_to_review(_doubted(), _tables(60)[1])
    kinds = {
        suspected: sorted((r["split"], r["label"]) for r in rows if r["suspected"] == suspected)
        for suspected in ("yes", "no")
    }
    assert kinds["yes"] == kinds["no"]
    assert len(kinds["yes"]) == 3
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert "score" not in COLUMNS
    assert "suspected" not in COLUMNS


def test_beside_what_is_measured_on_stands_what_relabelling_it_does() -> None:
    rows = rows_to_review(_doubted(), _tables(60)[1])
    cautions = {row["split"]: row["caution"] for row in rows}
    assert "makes test agree with the model" in cautions["test"]
    assert "makes validation agree with the model" in cautions["validation"]
    assert cautions["train"] == ""


def test_where_no_label_is_doubted_there_is_nothing_to_look_at() -> None:
    cracked = np.array([True] * 30 + [False] * 30)
    parts = _parts(_noise(60, 2), cracked)
    scores = {split: np.where(part.cracked, 0.9, 0.1) for split, part in parts.items()}
    assert rows_to_review(examine_held_out(parts, scores), _tables(60)[1]) == []


def test_the_score_of_a_patch_is_not_learned_from_its_own_label() -> None:
    # So many channels that a model recalls whatever it has seen.
    cracked = np.random.default_rng(2).random(200) < 0.5
    scores = out_of_fold_scores([_noise(200, 800)], cracked, _names(200))
    assert _sure(cracked, scores) < 0.65


def test_the_score_of_a_patch_is_not_learned_from_its_group() -> None:
    cracked = np.repeat(np.random.default_rng(3).random(100) < 0.5, 2)
    twins = np.repeat(_noise(100, 800), 2, axis=0)
    groups = np.repeat(_names(100), 2).tolist()
    assert _sure(cracked, out_of_fold_scores([twins], cracked, groups)) < 0.65
    # Where nobody says that they are twins, one gives the other away.
    assert _sure(cracked, out_of_fold_scores([twins], cracked, _names(200))) > 0.75


def test_a_group_of_both_labels_is_held_together_too() -> None:
    cracked = np.arange(60) % 2 == 0
    scores = out_of_fold_scores([_telling(cracked)], cracked, np.repeat(_names(20), 3).tolist())
    assert _sure(cracked, scores) > 0.95


def test_the_same_patches_always_get_the_same_scores_and_stay_as_they_are() -> None:
    cracked = np.arange(90) % 2 == 0
    features = _telling(cracked)
    before = features.copy()
    one = out_of_fold_scores([features], cracked, _names(90))
    other = out_of_fold_scores([features[:50], features[50:]], cracked, _names(90))
    assert one.tolist() == other.tolist()
    assert (features == before).all()


def test_the_scale_of_a_channel_and_a_dead_channel_do_not_matter() -> None:
    cracked = np.arange(90) % 2 == 0
    features = _telling(cracked)
    scaled = features * np.float32(1000) + np.float32(7)
    dead = np.full((90, 1), 3, np.float32)
    plain, other = (
        out_of_fold_scores([np.hstack(columns)], cracked, _names(90))
        for columns in ([features], [scaled, dead])
    )
    assert np.allclose(plain, other, atol=1e-3)
    assert _sure(cracked, plain) > 0.99
    assert ((plain >= 0) & (plain <= 1)).all()


@pytest.mark.parametrize("cracks", [0, 1, 19, 20])
def test_nothing_is_said_where_a_label_can_not_be_both_learned_and_scored(cracks: int) -> None:
    cracked = np.arange(20) < cracks
    scores = out_of_fold_scores([_noise(20, 4)], cracked, _names(20))
    assert scores.tolist() == [0.5] * 20
    assert likely_label_errors(cracked, scores).tolist() == []


@pytest.mark.parametrize("cracks", [2, 3, 4])
def test_a_rare_label_is_in_every_part_that_is_learned_from(cracks: int) -> None:
    cracked = np.arange(40) < cracks
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = out_of_fold_scores([_telling(cracked)], cracked, _names(40))
    assert scores[cracked].min() > scores[~cracked].max()


@pytest.mark.parametrize("cracks", [0, 1, 4, 5])
def test_a_label_that_occurs_less_than_twice_is_confused_with_none(cracks: int) -> None:
    assert likely_label_errors(np.arange(5) < cracks, np.linspace(0, 1, 5)).tolist() == []


def test_of_equally_suspicious_patches_the_first_comes_first() -> None:
    cracked = np.array([True] * 30 + [False] * 30)
    scores = np.where(cracked, 0.9, 0.1)
    wrong = [5, 20, 31, 45]
    scores[wrong] = 1 - scores[wrong]
    assert likely_label_errors(cracked, scores).tolist() == wrong


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), max_size=25))
def test_whatever_the_scores_only_contradicted_labels_are_listed_once_worst_first(
    patches: list[tuple[bool, float]],
) -> None:
    cracked = np.array([label for label, _ in patches], bool)
    scores = np.array([score for _, score in patches], float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = likely_label_errors(cracked, scores)
    confidence = np.where(cracked, scores, 1 - scores)[found].tolist()
    assert confidence == sorted(confidence)
    assert all(value < 0.5 for value in confidence)
    assert len(set(found.tolist())) == len(found)
