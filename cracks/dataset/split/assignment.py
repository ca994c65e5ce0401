"""Assign patches to train, validation and test so that nothing learned from is tested on."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.fingerprints import Pairs
from cracks.dataset.labels import LABELS, SPLITS
from cracks.dataset.split.grouping import Likeness, components
from cracks.dataset.split.leakage import leakage_report
from cracks.errors import WorkspaceError
from cracks.workspace.params import SplitParams
from cracks.workspace.stage_reports import SplitReport
from cracks.workspace.tables import read_table

#: Patches that would tie two splits together belong to none.
LEFT_OUT = "left out"

#: A group larger than this part of what a split needs of a label is assigned to train, so that
#: validation and test are of many photographs.
MAX_PART = 0.25

#: Metadata of the table: the parameters that it was assigned by.
ASSIGNED_BY = b"dealt_by"

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "label", "near_copies", "group", "split")]
)


def split_table(likeness: Likeness, params: SplitParams, earlier: pa.Table | None) -> pa.Table:
    """Return one row a distinct patch: id, label, near_copies, group and split, sorted by id.

    Assignments stay: a patch of `earlier` keeps its group and its split, whatever comes
    or goes. A new patch joins the group that it is linked with; one that is linked with groups in
    different splits would leak and is left out. New groups are assigned by `assign_splits`.

    Args:
        likeness: what there is today.
        params: shares and salt.
        earlier: the table of the last split, assigned by the same parameters.
    """
    ids, labels = (likeness.patches[name].to_pylist() for name in ("id", "label"))
    known = _known(earlier)
    names, splits = ([known.get(id_, ("", ""))[i] for id_ in ids] for i in (0, 1))
    is_new = np.array([not name for name in names], bool)
    side_of = {name: split for name, split in known.values() if split != LEFT_OUT}
    links = likeness.links(np.array(splits) != LEFT_OUT)
    for members, sides in _new_groups(links, is_new, names, splits):
        # A patch that comes back may be the one that a group is named after.
        sides |= {(ids[i], side_of[ids[i]]) for i in members if ids[i] in side_of}
        name, split = ids[members[0]], ""
        if len({side for _, side in sides}) > 1:
            split = LEFT_OUT
        elif sides:
            name, split = min(sides)
        for i in members:
            names[i], splits[i] = name, split
    assign_splits(labels, names, splits, params)
    pictures = likeness.pictures(np.array(splits) != LEFT_OUT)
    columns = (ids, labels, [ids[i] for i in pictures], names, splits)
    schema = SCHEMA.with_metadata({ASSIGNED_BY: _assigned_by(params)})
    return pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=schema)


def assign_splits(
    labels: Sequence[str], names: Sequence[str], splits: list[str], params: SplitParams
) -> None:
    """Fill in the empty `splits` group by group, so that each label comes close to its shares.

    The largest groups come first and the single patches last, which evens out what remains. Among
    the splits that still lack patches of a group's label the SHA-256 of salt and name draws, the
    more a split lacks the likelier.

    Source: the biased coin of Efron, "Forcing a Sequential Experiment to be Balanced" (Biometrika
    58, 1971), with the urn's weights of Wei, "An Application of an Urn Model to the Design of
    Sequential Controlled Clinical Trials" (JASA 73, 1978).
    """
    shares = dict(zip(SPLITS, shares_of(params), strict=True))
    wanted = {
        (split, label): shares[split]
        * sum(one == label and of != LEFT_OUT for one, of in zip(labels, splits, strict=True))
        for split in SPLITS
        for label in LABELS
    }
    lacking = dict(wanted)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, (name, split) in enumerate(zip(names, splits, strict=True)):
        if split in SPLITS:
            lacking[split, labels[i]] -= 1
        elif not split:
            groups[name].append(i)
    for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        label = max(LABELS, key=[labels[i] for i in members].count)
        weights = {
            split: max(lacking[split, label], 0.0)
            for split in SPLITS
            if split == SPLITS[0] or len(members) <= max(1, MAX_PART * wanted[split, label])
        }
        split = _draw(name, params.salt, weights)
        for i in members:
            splits[i] = split
            lacking[split, labels[i]] -= 1


def shares_of(params: SplitParams) -> tuple[float, float, float]:
    """Return the shares in the order of `SPLITS`."""
    return params.train, params.validation, params.test


def split_counts(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return how many distinct patches of each label every split holds."""
    pairs = list(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    return {s: {label: pairs.count((s, label)) for label in LABELS} for s in SPLITS}


def earlier_table(path: Path, params: SplitParams) -> pa.Table | None:
    """Return the table at `path` if there is one and it was assigned by the same parameters."""
    try:
        table = read_table(path)
    except WorkspaceError:
        return None
    expected = SCHEMA.with_metadata({ASSIGNED_BY: _assigned_by(params)})
    return table if table.schema.equals(expected, check_metadata=True) else None


def split_report(table: pa.Table, likeness: Likeness, params: SplitParams) -> SplitReport:
    """Return what a split holds, and how much leaks through it and through a random one."""
    sides, counts = table["split"].to_numpy(), split_counts(table)
    used, of_file = sides != LEFT_OUT, likeness.patch_of_file
    pictures, groups = likeness.pictures(used), likeness.groups(used)
    _, sizes = np.unique(groups, return_counts=True)
    run_sizes = np.bincount(likeness.runs)
    assigned = sum(sum(labels.values()) for labels in counts.values())
    return {
        "patches": len(table),
        "copies_left_out": len(of_file) - len(table),
        "left_out": int((sides == LEFT_OUT).sum()),
        "counts": counts,
        "shares": {name: round(sum(c.values()) / assigned, 4) for name, c in counts.items()},
        "near_copies": len(likeness.near_copies),
        "recrops": len(likeness.recrops),
        "photographs": int((run_sizes > 1).sum()),
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
        "leakage": leakage_report(
            sides[of_file],
            pictures[of_file],
            groups[of_file],
            shares_of(params),
        ),
    }


def _known(earlier: pa.Table | None) -> Mapping[str, tuple[str, str]]:
    if earlier is None:
        return {}
    columns = (earlier[name].to_pylist() for name in ("id", "group", "split"))
    return {id_: (group, split) for id_, group, split in zip(*columns, strict=True)}


def _assigned_by(params: SplitParams) -> bytes:
    return json.dumps(params.model_dump(), sort_keys=True).encode()


def _new_groups(
    links: Pairs, is_new: npt.NDArray[np.bool_], names: Sequence[str], splits: Sequence[str]
) -> list[tuple[list[int], set[tuple[str, str]]]]:
    """Return the members of each group of new patches, and the groups and splits it touches."""
    new_ends = is_new[links].sum(axis=1) if len(links) else np.zeros(0, int)
    of = components(links[new_ends == 2], len(is_new))
    members: dict[int, list[int]] = defaultdict(list)
    for i in np.flatnonzero(is_new):
        members[int(of[i])].append(int(i))
    sides: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for left, right in links[new_ends == 1]:
        new, old = (left, right) if is_new[left] else (right, left)
        if splits[old] != LEFT_OUT:
            sides[int(of[new])].add((names[old], splits[old]))
    return [(members[first], sides[first]) for first in members]


def _draw(name: str, salt: str, weights: Mapping[str, float]) -> str:
    """Return a split by the uniform number in [0, 1) that salt and name give."""
    digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64 * sum(weights.values())
    for split, weight in weights.items():
        if position < weight:
            return split
        position -= weight
    return SPLITS[0]
