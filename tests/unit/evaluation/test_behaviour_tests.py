"""Behaviour tests of a classifier, on classifiers of which it is known how they behave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cracks.evaluation.behaviour_tests import (
    ACCURACY,
    CALLED_CRACK,
    CRACK_RECALL,
    RAISED_SCORE,
    SAME_PREDICTION,
    Predict,
    behaviour_sample,
    rows_of_scores,
    scores_of_variants,
)
from cracks.evaluation.figures.behaviour import draw_behaviour, draw_perturbations
from cracks.evaluation.metrics import Cracked, Scored, Scores
from cracks.images.decode import Pixels
from cracks.images.perturbations import CORRUPTIONS, DRAWN_CRACK, INVARIANCES, UNDISTURBED
from cracks.system.parallel import WAITING
from tests.unit.builders import surface

SIZE, THRESHOLD = 64, 0.5


class Patches(NamedTuple):
    pictures: list[Pixels]
    ids: list[str]
    cracked: Cracked
    groups: list[str]


def _patches(count: int = 8) -> Patches:
    """Return clean and cracked patches in turn; the cracks are upright lines in the left half."""
    pictures = []
    for number in range(count):
        grey = 130 + 0.4 * (surface(number, size=SIZE).astype(float) - 130)
        pixels = np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
        if number % 2:
            pixels[:, 8 + number : 12 + number] = 20
        pictures.append(pixels)
    names = [f"patch{number}" for number in range(count)]
    return Patches(pictures, names, np.arange(count) % 2 == 1, names)


def _scorer(score_of: Callable[[npt.NDArray[np.float64]], float]) -> Predict:
    """Return a classifier that scores each patch by its grey values (size, size)."""

    def predict(batches: Iterable[Pixels]) -> Scores:
        greys = (patch.mean(axis=2) for batch in batches for patch in batch)
        return np.array([score_of(grey) for grey in greys])

    return predict


def _darkness(grey: npt.NDArray[np.float64]) -> float:
    """Return a score that rises with the share of pixels far darker than the rest."""
    share = (grey < 0.55 * np.median(grey)).mean()
    return float(share / (share + 0.01))


def _left_darkness(grey: npt.NDArray[np.float64]) -> float:
    return _darkness(grey[:, : SIZE // 2])


def _deepest(grey: npt.NDArray[np.float64]) -> float:
    """Return a score above 0.5 where some pixel is less than three quarters as bright as most."""
    return float(1 - grey.min() / np.median(grey) / 1.5)


def _steepness(grey: npt.NDArray[np.float64]) -> float:
    """Return a score above 0.5 only where neighbours differ by more than 60 grey values."""
    return float(np.abs(np.diff(grey, axis=1)).max() / 120)


def behaviour_rows(predict: Predict, patches: Patches, batch_size: int = 5) -> list[dict[str, Any]]:
    scores = scores_of_variants(*patches[:3], predict, batch_size)
    undisturbed = Scored(patches.cracked, scores[UNDISTURBED], THRESHOLD, patches.groups)
    return rows_of_scores(scores, undisturbed)


def _rates(predict: Predict, patches: Patches, batch_size: int = 5) -> dict[tuple[str, str], float]:
    rows = behaviour_rows(predict, patches, batch_size)
    return {(row["kind"], row["test"]): row["rate"] for row in rows}


def test_a_scorer_that_ignores_orientation_passes_every_turn() -> None:
    rates = _rates(_scorer(_darkness), _patches())
    turns = [name for name in INVARIANCES if name.startswith(("mirrored", "turned"))]
    assert len(turns) == 5
    assert all(rates[SAME_PREDICTION, name] == 1 for name in turns)


def test_a_scorer_that_looks_only_at_the_left_half_fails_where_the_right_half_comes_there() -> None:
    rates = _rates(_scorer(_left_darkness), _patches())
    # Half of the patches have a crack, and every crack leaves the left half.
    assert rates[SAME_PREDICTION, "mirrored left to right"] == 0.5
    assert rates[SAME_PREDICTION, "turned by 180°"] == 0.5
    assert rates[SAME_PREDICTION, "mirrored top to bottom"] == 1


def test_a_scorer_that_goes_by_brightness_fails_when_the_light_changes() -> None:
    rates = _rates(_scorer(lambda grey: float(grey.mean() < 120)), _patches())
    assert rates[SAME_PREDICTION, "20 % darker"] < 1
    assert rates[SAME_PREDICTION, "turned by 90°"] == 1


def test_a_drawn_crack_raises_the_score_of_a_scorer_that_sees_cracks() -> None:
    rates = _rates(_scorer(_deepest), _patches(16))
    assert rates[RAISED_SCORE, DRAWN_CRACK] == 1
    assert rates[CALLED_CRACK, DRAWN_CRACK] == 1


def test_a_scorer_that_never_looks_keeps_its_prediction_and_sees_no_drawn_crack() -> None:
    rates = _rates(_scorer(lambda _: 0.2), _patches())
    assert all(rates[SAME_PREDICTION, name] == 1 for name in INVARIANCES)
    assert rates[RAISED_SCORE, DRAWN_CRACK] == 0
    assert rates[CALLED_CRACK, DRAWN_CRACK] == 0
    assert rates[ACCURACY, UNDISTURBED] == 0.5
    assert rates[CRACK_RECALL, UNDISTURBED] == 0


def test_a_scorer_that_needs_sharp_edges_loses_cracks_to_blur_and_keeps_them_in_contrast() -> None:
    rates = _rates(_scorer(_steepness), _patches())
    assert rates[CRACK_RECALL, UNDISTURBED] == 1
    assert rates[CRACK_RECALL, "blurred by 2 pixels"] == 0
    assert rates[ACCURACY, "blurred by 2 pixels"] == 0.5
    assert rates[CRACK_RECALL, "contrast × 1.5"] == 1


def test_a_score_at_the_threshold_means_crack() -> None:
    rates = _rates(_scorer(lambda _: THRESHOLD), _patches())
    assert rates[CALLED_CRACK, DRAWN_CRACK] == 1
    assert rates[CRACK_RECALL, UNDISTURBED] == 1


def test_every_test_has_one_row_with_an_interval_around_its_rate() -> None:
    patches = _patches()
    rows = behaviour_rows(_scorer(_darkness), patches, batch_size=4)
    tests = [(row["kind"], row["test"]) for row in rows]
    assert len(tests) == len(set(tests)) == len(INVARIANCES) + 2 + 2 * (1 + len(CORRUPTIONS))
    for row in rows:
        assert set(row) == {"test", "kind", "patches", "rate", "low", "high"}
        assert 0 <= row["low"] <= row["rate"] <= row["high"] <= 1
        assert row["patches"] == (8 if row["kind"] in (SAME_PREDICTION, ACCURACY) else 4)


def test_without_clean_patches_no_crack_is_drawn_and_without_cracks_there_is_no_recall() -> None:
    patches = _patches(2)
    for keep, absent in ((1, {RAISED_SCORE, CALLED_CRACK}), (0, {CRACK_RECALL})):
        some = Patches(*(part[keep : keep + 1] for part in patches))
        kinds = {kind for kind, _ in _rates(_scorer(_darkness), some)}
        assert (
            kinds == {SAME_PREDICTION, RAISED_SCORE, CALLED_CRACK, ACCURACY, CRACK_RECALL} - absent
        )


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_neither_the_size_of_a_batch_nor_the_neighbours_change_a_score(batch_size: int) -> None:
    patches, scorer = _patches(6), _scorer(_darkness)
    turned_round = Patches(*(part[::-1] for part in patches))
    first = scores_of_variants(*patches[:3], scorer, 4)
    second = scores_of_variants(*turned_round[:3], scorer, batch_size)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name][::-1])


def test_all_variants_go_through_one_stream_and_patches_are_read_when_their_turn_comes() -> None:
    patches = _patches(20)
    read, held, calls = [0], [0], [0]

    def pictures() -> Iterator[Pixels]:
        for pixels in patches.pictures:
            read[0] += 1
            yield pixels

    def predict(batches: Iterable[Pixels]) -> Scores:
        calls[0] += 1
        variants = 0
        for batch in batches:
            assert batch.shape[1:] == (SIZE, SIZE, 3)
            assert len(batch) <= 4
            variants += len(batch)
            # A patch has at least 15 variants: few patches are open beyond what batches need.
            held[0] = max(held[0], read[0] - variants // 16)
        return np.zeros(variants)

    scores_of_variants(pictures(), *patches[1:3], predict, 4)
    assert calls == [1]
    assert read == [20]
    assert held[0] <= WAITING + 2


def test_only_clean_patches_get_a_drawn_crack() -> None:
    patches = _patches()
    scores = scores_of_variants(*patches[:3], _scorer(np.mean), 4)
    assert np.isnan(scores[DRAWN_CRACK][patches.cracked]).all()
    assert not np.isnan(scores[DRAWN_CRACK][~patches.cracked]).any()
    assert not any(np.isnan(scores[name]).any() for name in scores if name != DRAWN_CRACK)


def test_a_rate_with_many_groups_is_surer_than_the_same_rate_in_few() -> None:
    cracked = np.arange(40) % 2 == 1
    scores = dict.fromkeys((UNDISTURBED, *INVARIANCES, *CORRUPTIONS, DRAWN_CRACK), cracked * 0.8)
    alone, together = (
        rows_of_scores(scores, Scored(cracked, scores[UNDISTURBED], 0.5, groups))
        for groups in ([f"group{i // size}" for i in range(40)] for size in (1, 10))
    )
    assert all(a["low"] > b["low"] for a, b in zip(alone, together, strict=True) if a["rate"] == 1)


def test_half_of_the_sample_is_cracked_and_no_patch_comes_twice() -> None:
    cracked = np.arange(100) < 90
    picked = behaviour_sample(cracked, [str(i) for i in range(100)], 12, 1)
    assert cracked[picked].sum() == 6
    assert len(np.unique(picked)) == 12
    assert (np.diff(picked) > 0).all()


def test_a_second_patch_of_a_photograph_comes_only_after_one_of_each() -> None:
    # One photograph of 50 patches, and nine of one.
    groups = ["big"] * 50 + [f"small{i}" for i in range(9)]
    cracked = np.ones(59, np.bool_)
    picked = behaviour_sample(cracked, groups, 20, 1)
    assert len({groups[i] for i in picked}) == 10
    picked = behaviour_sample(cracked, groups, 24, 1)
    assert sum(groups[i] == "big" for i in picked) == 3


def test_a_label_with_too_few_patches_gives_all_it_has() -> None:
    cracked = np.arange(20) < 3
    picked = behaviour_sample(cracked, [str(i) for i in range(20)], 10, 1)
    assert cracked[picked].sum() == 3
    assert (~cracked[picked]).sum() == 5


def test_the_sample_is_fixed_by_its_seed() -> None:
    cracked, groups = np.arange(200) % 2 == 0, [str(i // 3) for i in range(200)]
    one, same, other = (behaviour_sample(cracked, groups, 20, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_rates_and_changed_patches_are_drawn(tmp_path: Path) -> None:
    patches = _patches(2)
    scores = scores_of_variants(*patches[:3], _scorer(_darkness), 4)
    draw_behaviour(behaviour_rows(_scorer(_darkness), patches), tmp_path)
    draw_perturbations(patches.pictures, patches.ids, scores, THRESHOLD, tmp_path)
    for name in ("behaviour.png", "perturbations.png"):
        assert np.asarray(Image.open(tmp_path / name).convert("L")).std() > 5
