"""Find out on which side new patches belong that look like earlier ones, and which fit on none.

Photographs, and not single patches, take a side: the one that most of their patches tie them to.
A patch that ties its photograph to another side is left out. What a photograph ties takes part in
this too, until no photograph would change sides (iterated conditional modes: Besag, "On the
Statistical Analysis of Dirty Pictures", Journal of the Royal Statistical Society B 48, 1986).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import Pairs
from cracks.dataset.labels import LEFT_OUT, SPLITS
from cracks.dataset.split.components import Names, components
from cracks.dataset.split.grouping import Likeness, between
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


def leave_out(
    patches: Sequence[int], ids: Sequence[str], names: list[str], splits: list[str]
) -> None:
    """Assign some patches to no split, each as a group of its own.

    Args:
        patches: their positions.
        ids: (n,) of all patches.
        names: (n,) of their groups; changed.
        splits: (n,) of them; changed.
    """
    for i in patches:
        names[i], splits[i] = ids[i], LEFT_OUT


def join(
    likeness: Likeness,
    ids: Sequence[str],
    names: list[str],
    splits: list[str],
    known: Mapping[str, tuple[str, str]],
) -> None:
    """Give each new patch its group, and its split where earlier patches decide that.

    Args:
        likeness: what there is today.
        ids: (n,) of the patches.
        names: (n,) of their groups, "" for new ones; filled in.
        splits: (n,) of them; filled in as far as earlier patches decide, or a patch is left out.
        known: group and split of earlier patches by id, also of those that are gone.
    """
    count, is_new = len(ids), np.array([not name for name in names], bool)
    # A patch that comes back may be the one that a group is named after.
    side_of = {name: split for name, split in known.values() if split != LEFT_OUT}
    new = np.flatnonzero(is_new).tolist()
    back = {i: (ids[i], side_of[ids[i]]) for i in new if ids[i] in side_of}
    used = np.array(splits) != LEFT_OUT
    units, alike = likeness.units(used), between(likeness.alike, used)
    ties = [
        *(Tie(i, split, same_unit=True) for i, (_, split) in back.items()),
        *(Tie(i, splits[old], same_unit=True) for i, old in _to_earlier(units, is_new)),
        *(Tie(i, splits[old], same_unit=False) for i, old in _to_earlier(alike, is_new)),
    ]
    unit_of = components(between(units, is_new), count)
    sides, left_out = sides_of_new(unit_of, between(alike, is_new), ties)
    leave_out(np.flatnonzero(left_out).tolist(), ids, names, splits)
    is_new, used = is_new & ~left_out, used & ~left_out
    links = between(likeness.links(used), used)
    touched: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for i, old in _to_earlier(links, is_new):
        touched[i].add((names[old], splits[old]))
    together = between(links, is_new)
    together = together[sides[together[:, 0]] == sides[together[:, 1]]]
    group_of, members = components(together, count), defaultdict(list)
    for i in np.flatnonzero(is_new).tolist():
        members[int(group_of[i])].append(i)
    for first, group in members.items():
        side = "" if sides[first] == NO_SIDE else SPLITS[sides[first]]
        groups = {one for i in group for one in (*touched[i], *([back[i]] if i in back else []))}
        name = min((name for name, split in groups if split == side), default=ids[first])
        for i in group:
            names[i], splits[i] = name, side


def _to_earlier(pairs: Pairs, is_new: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the pairs of a new and an earlier patch, the new one first."""
    of_both = pairs[is_new[pairs].sum(axis=1) == 1].tolist()
    return [(left, right) if is_new[left] else (right, left) for left, right in of_both]


def readmit(
    likeness: Likeness, doubtful: Sequence[int], names: list[str], splits: list[str]
) -> None:
    """Let doubtful patches in after all where everything that they belong with is on one side.

    Args:
        likeness: what there is today.
        doubtful: positions of patches that are left out.
        names: (n,) of the groups; changed for those that are let in.
        splits: (n,); likewise.
    """
    photographs = likeness.photographs
    alike, photos_of = defaultdict(set), defaultdict(set)
    for left, right in likeness.alike.tolist():
        alike[left].add(right)
        alike[right].add(left)
    patches_of: dict[int, list[int]] = defaultdict(list)
    for file in np.flatnonzero(photographs.numbers >= 0):
        patch, photo = int(photographs.patch_of_file[file]), int(photographs.numbers[file])
        photos_of[patch].add(photo)
        if likeness.tied[file]:
            patches_of[photo].append(patch)
    for i in doubtful:
        near = alike[i].union(*(patches_of[photo] for photo in photos_of[i])) - {i}
        groups = {(names[j], splits[j]) for j in near if splits[j] != LEFT_OUT}
        if len({split for _, split in groups}) == 1:
            names[i], splits[i] = min(groups)
