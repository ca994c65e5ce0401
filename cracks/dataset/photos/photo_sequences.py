"""Runs of one photograph: where a data set is numbered by photograph, find where each one ends.

Neighbouring patches of one photograph share its light, its white balance and its noise. Two
questions are asked of a numbered sequence: is it ordered by photograph here at all, and if so,
where does the look change for good.

Sources: order against shuffle by the ratio of the mean square successive difference to the
variance, von Neumann, "Distribution of the Ratio of the Mean Square Successive Difference to the
Variance" (Annals of Mathematical Statistics 12, 1941); boundaries where the look before and after
differ most, as the novelty of Foote, "Automatic Audio Segmentation Using a Measure of Audio
Novelty" (ICME 2000), here with medians, which a single odd patch does not move.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

#: Patches on either side whose median look is compared.
SIDE = 5

#: Patches over which order is judged, and the largest ratio of an ordered stretch. A shuffled one
#: has 1; on the reference data ordered stretches have 0.1 to 0.5, shuffled ones 0.8 and more.
STRETCH, MAX_RATIO = 51, 0.65

#: Patches by which a boundary is off at most: three on the reference data, where people see it.
UNCERTAIN_PATCHES = 3

#: A gap in the numbers that is larger than this ends a run.
MAX_GAP = 10

#: What makes one grey value, one step of colour and an eighth of the logarithms alike in weight.
LOG_WEIGHT, GREY_WEIGHT = 8.0, 0.25

#: The columns of the manifest that tell photographs apart.
LOOK = ("red_minus_green", "green_minus_blue", "sharpness", "contrast", "brightness")

Look = npt.NDArray[np.float64]  # (n, 5)


def look_of(columns: dict[str, npt.NDArray[np.float64]]) -> Look:
    """Return what a photograph's patches have in common, as float64 (n, 5).

    Args:
        columns: those of `LOOK`, each (n,).
    """
    return np.stack(
        [
            columns["red_minus_green"],
            columns["green_minus_blue"],
            LOG_WEIGHT * np.log(columns["sharpness"] + 1),
            LOG_WEIGHT * np.log(columns["contrast"] + 1),
            GREY_WEIGHT * columns["brightness"],
        ],
        axis=1,
    )


@dataclass(frozen=True)
class Runs:
    """The runs of numbered sequences."""

    numbers: npt.NDArray[np.int64]  # (n,) of each patch's run; outside of any it is one by itself
    #: (n,) whether a patch lies so near to an end that it may be of the photograph beside it.
    at_end: npt.NDArray[np.bool_]


def find_runs(paths: Sequence[str], look: Look, change: float) -> Runs:
    """Return the runs of photographs.

    Args:
        paths: of the files; those of one folder whose names begin with a number are a sequence.
        look: what `look_of` gives, in the same order.
        change: the least change of look that ends a run; 4 fits the reference data.
    """
    run, at_end = np.arange(len(paths), dtype=np.int64), np.zeros(len(paths), bool)
    numbers = np.array([_number(path) for path in paths], np.int64)
    for members in _sequences(paths, numbers):
        starts = run_starts(numbers[members], look[members], change)
        run[members] = members[starts][np.cumsum(starts) - 1]
        at_end[members] = _at_ends(starts)
    return Runs(run, at_end)


def run_starts(numbers: npt.NDArray[np.int64], look: Look, change: float) -> npt.NDArray[np.bool_]:
    """Return for each patch of a sequence whether a run begins with it, (n,)."""
    starts = np.ones(len(numbers), bool)
    if len(numbers) < STRETCH:
        return starts
    # The last member of an ordered stretch is still its own photograph's.
    ordered = _is_ordered(look)
    starts[1:] = ~(ordered[1:] & ordered[:-1])
    starts[1:] |= np.diff(numbers) > MAX_GAP
    return starts | _look_changes(look, change)


def _at_ends(starts: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which patches of a sequence lie at an end of their run, never all of a run's."""
    sizes = np.diff(np.append(np.flatnonzero(starts), len(starts)))
    size = np.repeat(sizes, sizes)
    place = np.arange(len(starts)) - np.repeat(np.flatnonzero(starts), sizes)
    outer = (place < UNCERTAIN_PATCHES) | (size - place <= UNCERTAIN_PATCHES)
    return np.asarray(outer & (place != size // 2))


def _is_ordered(look: Look) -> npt.NDArray[np.bool_]:
    variance = look.var(axis=0)
    varied = variance > 0
    if not varied.any():
        return np.zeros(len(look), bool)
    successive = np.square(np.diff(look[:, varied], axis=0)) / (2 * variance[varied])
    ratio = _moving_mean(successive.mean(axis=1), STRETCH)
    return np.asarray(np.append(ratio, ratio[-1]) < MAX_RATIO)


def _look_changes(look: Look, change: float) -> npt.NDArray[np.bool_]:
    windows = np.lib.stride_tricks.sliding_window_view(look, SIDE, axis=0)
    middle = np.median(windows, axis=-1)
    novelty = np.zeros(len(look))
    novelty[SIDE : len(look) - SIDE + 1] = np.linalg.norm(middle[SIDE:] - middle[:-SIDE], axis=1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(novelty, SIDE), 2 * SIDE + 1)
    return np.asarray((novelty >= change) & (novelty == around.max(axis=1)))


def _moving_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    padded = np.pad(values, width // 2, mode="reflect")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _sequences(paths: Sequence[str], numbers: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Return the positions of each folder's numbered files, in the order of their numbers."""
    folders: dict[str, list[int]] = {}
    for i in np.flatnonzero(numbers >= 0).tolist():
        folders.setdefault(str(PurePosixPath(paths[i]).parent), []).append(i)
    return [
        np.array(sorted(members, key=lambda i: (numbers[i], paths[i])))
        for members in folders.values()
    ]


def _number(path: str) -> int:
    """Return the number that a file's name begins with, or -1; very long ones are no numbers."""
    match = re.match(r"\d{1,12}(?!\d)", PurePosixPath(path).name)
    return int(match.group()) if match else -1
