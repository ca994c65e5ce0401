"""Slices: on which parts of a split predictions are worse, and how dark and wide a crack is."""

from __future__ import annotations

import timeit
from typing import Any

import cv2
import numpy as np
import pytest

from cracks.evaluation.metrics import Scored
from cracks.evaluation.slices import crack_proxies, slice_rows
from cracks.images.decode import Pixels

PATCHES = 90
CRACKED = np.arange(PATCHES) % 2 == 0
NAMES = [f"photo-{i}" for i in range(PATCHES)]
RIGHT = np.where(CRACKED, 0.9, 0.1)


def _rows(
    facts: dict[str, Any] | None = None,
    categories: dict[str, Any] | None = None,
    scores: Any = RIGHT,
    groups: Any = NAMES,
) -> list[dict[str, Any]]:
    return slice_rows(facts or {}, categories or {}, Scored(CRACKED, scores, 0.5, groups))


def _line(width: int, contrast: int, noise: float = 0) -> Pixels:
    """Return a grey patch with a dark diagonal line, maybe grainy."""
    pixels = np.full((227, 227, 3), 170, np.uint8)
    if width:
        cv2.line(pixels, (10, 0), (200, 226), [170 - contrast] * 3, width)
    grain = np.random.default_rng(0).normal(0, noise, pixels.shape)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "slices"),
    [
        (np.arange(100.0, 190), {"100–129": 30, "130–159": 30, "160–189": 30}),
        # In three digits where they suffice.
        (np.linspace(83.839, 249.48, PATCHES), {"83.8–138": 30, "140–194": 30, "196–249": 30}),
        # Equal values are never parted.
        (np.repeat([1.0, 2.0, 3.0], [70, 15, 5]), {"1": 70, "2–3": 20}),
        (np.full(PATCHES, 227.0), {"227": PATCHES}),
    ],
    ids=["thirds", "few digits", "equal values", "always the same"],
)
def test_a_number_is_cut_into_thirds_that_are_named_by_their_range(
    values: Any, slices: dict[str, int]
) -> None:
    rows = _rows({"fact": values})
    assert {row["slice"]: row["patches"] for row in rows} == {
        f"fact {part}": patches for part, patches in slices.items()
    }
    # Every second patch is cracked, and each is of a photograph of its own.
    assert all(row["cracks"] == -(-row["patches"] // 2) for row in rows)
    assert all(row["groups"] == row["patches"] for row in rows)


def test_the_third_that_is_predicted_badly_is_seen() -> None:
    darkness = np.arange(PATCHES)
    missed = CRACKED & (darkness >= 60)
    good, _, bad = _rows({"darkness": darkness}, scores=np.where(missed, 0.1, RIGHT))
    assert (good["accuracy"], good["crack_recall"], good["false_alarm_rate"]) == (1, 1, 0)
    assert (bad["accuracy"], bad["crack_recall"], bad["false_alarm_rate"]) == (0.5, 0, 0)
    assert bad["crack_recall_high"] < good["crack_recall_low"]
    for row in (good, bad):
        for rate in ("accuracy", "crack_recall", "false_alarm_rate"):
            assert 0 <= row[f"{rate}_low"] <= row[rate] <= row[f"{rate}_high"] <= 1


@pytest.mark.parametrize("values", [[1000.25, 1000.5, 1000.75], [1e-7, 2e-7, 3e-7], [-3, 0, 1e6]])
def test_no_two_slices_have_the_same_name(values: list[float]) -> None:
    rows = _rows({"fact": np.resize(values, PATCHES)})
    assert len({row["slice"] for row in rows}) == 3


def test_patches_without_the_fact_are_a_slice_of_their_own() -> None:
    width = np.where(CRACKED, np.arange(PATCHES), np.nan)
    *thirds, without = _rows({"width": width})
    assert [row["cracks"] for row in thirds] == [15, 15, 15]
    assert (without["slice"], without["patches"], without["cracks"]) == ("width unknown", 45, 0)
    (nothing,) = _rows({"width": np.full(PATCHES, np.inf)})
    assert nothing["slice"] == "width unknown"


def test_a_rate_that_has_no_patch_is_none() -> None:
    cracks, clean = _rows(categories={"folder": np.where(CRACKED, "a", "b")})
    for row, missing in ((clean, "crack_recall"), (cracks, "false_alarm_rate")):
        assert [row[missing], row[f"{missing}_low"], row[f"{missing}_high"]] == [None] * 3
        assert row["accuracy"] == 1


def test_slices_come_in_the_order_of_facts_then_of_words() -> None:
    sources = np.resize(["zurich", "ankara"], PATCHES).tolist()
    rows = _rows({"b": np.arange(PATCHES), "a": np.zeros(PATCHES)}, {"source": sources})
    names = ["b 0–29", "b 30–59", "b 60–89", "a 0", "source ankara", "source zurich"]
    assert [row["slice"] for row in rows] == names
    assert [row["fact"] for row in rows] == ["b", "b", "b", "a", "source", "source"]


def test_a_slice_of_few_photographs_is_less_sure() -> None:
    scores = np.where(np.arange(PATCHES) % 10 == 0, 1 - RIGHT, RIGHT)
    (many,) = _rows({"height": np.zeros(PATCHES)}, scores=scores)
    (few,) = _rows(
        {"height": np.zeros(PATCHES)}, scores=scores, groups=[str(i // 9) for i in range(PATCHES)]
    )
    assert few["groups"] == 10
    assert few["accuracy_low"] < many["accuracy_low"]


@pytest.mark.parametrize("noise", [0, 6])
def test_the_width_of_a_line_is_about_that_which_was_drawn(noise: float) -> None:
    drawn = [2, 3, 5, 8, 12, 20, 30]
    found = [crack_proxies(_line(width, 80, noise))["dark_line_width"] for width in drawn]
    assert found == sorted(found)
    assert np.allclose(found, drawn, atol=1.6)


@pytest.mark.parametrize("width", [3, 8, 20])
def test_the_contrast_of_a_line_is_that_which_was_drawn(width: int) -> None:
    drawn = [10, 20, 40, 80, 120]
    found = [crack_proxies(_line(width, contrast))["dark_line_contrast"] for contrast in drawn]
    assert np.allclose(found, drawn, atol=1)
    assert crack_proxies(_line(1, 80))["dark_line_contrast"] > 20


def test_light_that_falls_off_and_a_bright_line_are_no_dark_line() -> None:
    slope = np.repeat(np.linspace(60, 220, 227).astype(np.uint8)[:, None, None], 227, 1)
    assert crack_proxies(np.repeat(slope, 3, 2))["dark_line_contrast"] < 3
    assert crack_proxies(_line(8, -80))["dark_line_contrast"] < 3
    nothing = {"dark_line_contrast": 0.0, "dark_line_width": 0.0}
    assert crack_proxies(_line(0, 0)) == nothing


def test_a_grainy_patch_has_less_contrast_than_a_cracked_one() -> None:
    grain, crack = crack_proxies(_line(0, 0, 6)), crack_proxies(_line(8, 60, 6))
    assert grain["dark_line_contrast"] < crack["dark_line_contrast"] / 2
    assert grain["dark_line_width"] < 4


def test_forty_thousand_patches_are_looked_at_in_about_a_minute() -> None:
    pixels = _line(8, 60, 6)
    seconds = timeit.repeat(lambda: crack_proxies(pixels), number=1, repeat=30)
    assert min(seconds) < 0.002
