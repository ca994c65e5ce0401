"""Find out on which side new patches belong that look like earlier ones, and which fit on none.

Photographs, and not single patches, take a side: the one that most of their patches tie them to.
A patch that ties its photograph to another side is left out. What a photograph ties takes part in
this too, until no photograph would change sides (iterated conditional modes: Besag, "On the
Statistical Analysis of Dirty Pictures", Journal of the Royal Statistical Society B 48, 1986).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import Pairs
from cracks.dataset.labels import SPLITS
from cracks.dataset.split.components import Names
from cracks.dataset.split.weak_ties import one_of_each

#: How much more a patch of the same photograph counts than one that looks alike, and how much a
#: side counts for being taken already.
SAME_UNIT, TAKEN = 1000.0, 1e-6

#: Rounds, in case photographs push each other to and fro.
MOST_ROUNDS = 20

#: A side is the place of a split in `SPLITS`; this is none.
NO_SIDE = -1

Votes = npt.NDArray[np.float64]  # (units, splits)


@dataclass(frozen=True)
class Tie:
    """A new patch that belongs with an earlier one."""

    patch: int
    split: str  # of the earlier one
    same_unit: bool  # of the same photograph, or site; else they look alike


def sides_of_new(
    units: Names, alike: Pairs, ties: Iterable[Tie]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the side of each patch, and which patches are left out.

    Args:
        units: (n,) the photograph of each patch, by one of its patches; one without a photograph
            is a unit by itself.
        alike: pairs of new patches that show the same.
        ties: of new patches with earlier ones.

    Returns:
        The place of a split in `SPLITS`, or `NO_SIDE` where nothing ties a patch to one, (n,); and
        whether a patch fits on no side, bool (n,).
    """
    votes, alike_on = np.zeros((2, len(units), len(SPLITS)))
    for tie in ties:
        side = SPLITS.index(tie.split)
        votes[units[tie.patch], side] += SAME_UNIT if tie.same_unit else 1
        alike_on[tie.patch, side] += not tie.same_unit
    sides = _sides(votes, units[alike])[units]
    elsewhere = np.arange(len(SPLITS)) != sides[:, None]
    left_out = np.asarray((alike_on.astype(bool) & elsewhere).any(axis=1))
    apart = alike[(sides[alike[:, 0]] != sides[alike[:, 1]]) & ~left_out[alike].any(axis=1)]
    left_out[one_of_each(apart.tolist())] = True
    return sides, left_out


def _sides(votes: Votes, pairs: Pairs) -> npt.NDArray[np.int64]:
    """Return the side of each voter, (units,), as it and those that it is paired with have it."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for left, right in pairs[pairs[:, 0] != pairs[:, 1]].tolist():
        neighbours[left].append(right)
        neighbours[right].append(left)
    sides = np.where(votes.any(axis=1), votes.argmax(axis=1), NO_SIDE)
    for _ in range(MOST_ROUNDS):
        before = sides.copy()
        for unit, others in sorted(neighbours.items()):
            counted = votes[unit].copy()
            taken = sides[others]
            counted += np.bincount(taken[taken != NO_SIDE], minlength=len(SPLITS))
            if counted.any():
                counted[sides[unit]] += TAKEN if sides[unit] != NO_SIDE else 0
                sides[unit] = counted.argmax()
        if (sides == before).all():
            break
    return sides
