"""Measure the predictions on parts of a split: dark patches, faint cracks, one source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cracks.evaluation.intervals import rate_with_interval
from cracks.evaluation.metrics import Scored
from cracks.images.decode import Pixels

#: Pixels. Darkness wider than this is a shadow or a stain, not a line.
WIDEST_LINE: Final = 41

#: The share of the pixels that are less dark than the contrast that is reported: a few dark pores
#: do not count, and a line one pixel wide across 227 pixels, 0.44 % of them, does.
LESS_DARK: Final = 0.997

#: What a fact that is not a number makes of a patch.
UNKNOWN: Final = "unknown"

RATES: Final = ("accuracy", "crack_recall", "false_alarm_rate")

#: Of a row of `slice_rows`.
COLUMNS: Final = (
    *("fact", "slice", "patches", "groups", "cracks"),
    *(f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")),
)

Facts = Mapping[str, npt.NDArray[np.floating[Any]]]
Members = npt.NDArray[np.bool_]


def slice_rows(
    facts: Facts,
    categories: Mapping[str, Sequence[str]],
    scored: Scored,
) -> list[dict[str, Any]]:
    """Return a row for each slice, with how well it is predicted.

    Of many slices one will look bad by chance: of twenty 95 % intervals one misses its rate.

    Args:
        facts: a number for each patch, float (n,), by the name of the fact; each is cut into
            thirds. Patches where it is not a finite number are a slice of their own.
        categories: a word for each patch, (n,), by the name of the category.
        scored: the patches, n of them.

    Returns:
        "fact", "slice" (such as "brightness 120–140", least and greatest value in it), "patches",
        "groups", "cracks", and "accuracy", "crack_recall" and "false_alarm_rate", each followed by
        its 95 % interval as "…_low" and "…_high"; all three are None where it has no patch to be
        measured on. In the given order of the facts, then of the categories; numbers rise, words
        are sorted.
    """
    cracked, called, groups = scored.cracked, scored.called, np.asarray(scored.groups)

    def rates(members: Members) -> dict[str, Any]:
        measured = (
            (called == cracked, members),
            (called, members & cracked),
            (called, members & ~cracked),
        )
        row: dict[str, Any] = {}
        for name, (hits, of) in zip(RATES, measured, strict=True):
            found = rate_with_interval(hits[of], groups[of].tolist())
            row |= {name: found["rate"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
        return row

    return [
        {
            "fact": fact,
            "slice": f"{fact} {part}",
            "patches": int(members.sum()),
            "groups": len(np.unique(groups[members])),
            "cracks": int((members & cracked).sum()),
            **rates(members),
        }
        for fact, part, members in _slices(facts, categories)
    ]


def crack_proxies(pixels: Pixels) -> dict[str, float]:
    """Return how strong and how wide the darkest line of a patch is, roughly.

    Lines are what a closing fills in: the black-hat transform (Serra, Image Analysis and
    Mathematical Morphology, 1982; Gonzalez & Woods, Digital Image Processing, "Morphology"). A
    patch without a crack has its darkest pores and its noise measured instead.

    Args:
        pixels: uint8 (height, width, 3), RGB.

    Returns:
        "dark_line_contrast": grey values that the line is darker than what surrounds it.
        "dark_line_width": pixels that are at least half as dark lie that far across. Lines wider
        than 41 pixels are not seen.
    """
    import cv2

    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (WIDEST_LINE, WIDEST_LINE))
    # Without more of the same around it, the dark end of a slope would count as a line.
    margin = WIDEST_LINE // 2
    framed = np.pad(grey, margin, "edge")
    darker = cv2.morphologyEx(framed, cv2.MORPH_BLACKHAT, square)
    darker = np.ascontiguousarray(darker[margin:-margin, margin:-margin])
    rank = int(LESS_DARK * darker.size)
    contrast = float(np.partition(darker.ravel(), rank)[rank])
    if not contrast:
        return {"dark_line_contrast": 0.0, "dark_line_width": 0.0}
    line = np.asarray(darker >= contrast / 2, np.uint8)
    to_edge = cv2.distanceTransform(line, cv2.DIST_L2, cv2.DIST_MASK_5)
    mean = float(to_edge[line > 0].mean())
    # Across a line of w pixels the distances are 1, 2 … (w + 1) / 2 … 2, 1: their mean is
    # (w + 1)² / 4w, and this is it solved for w.
    return {
        "dark_line_contrast": contrast,
        "dark_line_width": 2 * mean - 1 + 2 * float(np.sqrt(max(mean * mean - mean, 0))),
    }


def _slices(
    facts: Facts, categories: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, Members]]:
    for name, values in facts.items():
        for part, members in _thirds(np.asarray(values, np.float64)).items():
            yield name, part, members
    for name, words in categories.items():
        all_words = np.asarray(words)
        for word in np.unique(all_words):
            yield name, str(word), all_words == word


def _thirds(values: npt.NDArray[np.float64]) -> dict[str, Members]:
    """Return up to three parts of the patches by their range; equal values stay together."""
    known = np.isfinite(values)
    parts: dict[str, Members] = {}
    if known.any():
        cuts = np.unique(np.quantile(values[known], [1 / 3, 2 / 3], method="lower"))
        third = np.where(known, np.searchsorted(cuts, values), -1)
        members = [third == number for number in range(len(cuts) + 1) if (third == number).any()]
        ends = [(values[part].min(), values[part].max()) for part in members]
        parts = dict(zip(_ranges(ends), members, strict=True))
    return parts if known.all() else {**parts, UNKNOWN: ~known}


def _ranges(ends: Sequence[tuple[float, float]]) -> list[str]:
    """Return the ranges as text, in as few digits from three on as tell them apart."""
    texts: list[str] = []
    for digits in range(3, 18):
        pairs = [(_text(low, digits), _text(high, digits)) for low, high in ends]
        texts = [low if low == high else f"{low}–{high}" for low, high in pairs]
        if len(set(texts)) == len(ends):
            break
    return texts


def _text(value: float, digits: int) -> str:
    return np.format_float_positional(
        value, precision=digits, unique=False, fractional=False, trim="-"
    )
