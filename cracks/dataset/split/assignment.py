"""Assign patches to train, validation and test so that nothing learned from is tested on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from cracks.dataset.labels import CRACK, LABELS, LEFT_OUT, SPLITS
from cracks.dataset.split.evidence import counted
from cracks.dataset.split.grouping import Likeness
from cracks.dataset.split.leakage import leakage_report
from cracks.dataset.split.new_patches import join, leave_out, readmit
from cracks.errors import WorkspaceError
from cracks.workspace.params import SplitParams
from cracks.workspace.stage_reports import SplitReport
from cracks.workspace.tables import read_table

#: A group that is larger than most, and than this part of what a split needs of a label, is
#: assigned to train, so that validation and test are of many photographs.
MAX_PART = 0.25

#: Metadata of the table: the parameters that it was assigned by.
ASSIGNED_BY = b"dealt_by"

#: A parameter that earlier tables were assigned by, and those that came later.
FORMERLY, LATER = "run_change", ("max_group_patches", "overlap_correlation")

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "label", "near_copies", "group", "split")]
)


def split_table(likeness: Likeness, params: SplitParams, earlier: pa.Table | None) -> pa.Table:
    """Return one row a distinct patch: id, label, near_copies, group and split, sorted by id.

    Assignments stay: a patch of `earlier` keeps its group and its split, whatever comes
    or goes. New patches join the group that they are linked with; of photographs that are linked
    with several splits, the few patches that would leak are left out (`sides_of_new`). New groups
    are assigned by `assign_splits`.

    Args:
        likeness: what there is today.
        params: shares and salt.
        earlier: the table of the last split, assigned by the same parameters.
    """
    ids, labels = (likeness.patches[name].to_pylist() for name in ("id", "label"))
    known = _known(earlier)
    doubtful = [i for i in np.flatnonzero(likeness.left_out).tolist() if ids[i] not in known]
    names, splits = ([known.get(id_, ("", ""))[i] for id_ in ids] for i in (0, 1))
    leave_out(doubtful, ids, names, splits)
    join(likeness, ids, names, splits, known)
    assign_splits(labels, names, splits, params)
    readmit(likeness, doubtful, names, splits)
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
    sizes = Counter(n for n, of in zip(names, splits, strict=True) if of != LEFT_OUT)
    typical = np.median(list(sizes.values())) if sizes else 0
    for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        label = max(LABELS, key=[labels[i] for i in members].count)
        weights = {
            split: max(lacking[split, label], 0.0)
            for split in SPLITS
            if split == SPLITS[0] or len(members) <= max(typical, MAX_PART * wanted[split, label])
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
        before = json.loads((table.schema.metadata or {}).get(ASSIGNED_BY, b""))
    except (WorkspaceError, ValueError):
        return None
    if not isinstance(before, dict):
        return None
    today = json.loads(_assigned_by(params))
    before.pop(FORMERLY, None)
    alike = {"unit": "photo"} | {name: today[name] for name in LATER} | before == today
    return table if alike and table.schema.equals(SCHEMA) else None


def split_report(table: pa.Table, likeness: Likeness, params: SplitParams) -> SplitReport:
    """Return what a split holds, and how much leaks through it and through a random one."""
    sides, labels, groups = (table[name].to_numpy() for name in ("split", "label", "group"))
    used, of_file = sides != LEFT_OUT, likeness.patch_of_file
    counts, pictures = split_counts(table), likeness.pictures(used)
    _, sizes = np.unique(groups[used], return_counts=True)
    photographs = likeness.photographs
    known = photographs.numbers >= 0
    share_known = round(float(known.mean()), 5)
    assigned = sum(sum(of_split.values()) for of_split in counts.values())
    return {
        "patches": len(table),
        "copies_left_out": len(of_file) - len(table),
        "left_out": {label: int((~used & (labels == label)).sum()) for label in LABELS},
        "counts": counts,
        "shares": {name: round(sum(c.values()) / assigned, 4) for name, c in counts.items()},
        "near_copies": len(likeness.near_copies),
        "recrops": len(likeness.recrops),
        "overlaps": len(likeness.overlaps),
        "photographs": len(np.unique(photographs.numbers[known])),
        "photographs_known": share_known,
        "counted": counted(params.unit, share_known),
        "groups": len(sizes),
        "crack_groups": {
            name: len(np.unique(groups[(labels == CRACK) & (sides == name)])) for name in SPLITS
        },
        "largest_group": int(sizes.max()),
        "leakage": leakage_report(
            sides[of_file],
            pictures[of_file],
            np.where(photographs.known, photographs.numbers, -1),
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


def _draw(name: str, salt: str, weights: Mapping[str, float]) -> str:
    """Return a split by the uniform number in [0, 1) that salt and name give."""
    digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64 * sum(weights.values())
    for split, weight in weights.items():
        if position < weight:
            return split
        position -= weight
    return SPLITS[0]
