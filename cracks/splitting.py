"""Deal patches to train, validation and test so that no patch ever stands on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import pyarrow as pa

from cracks.errors import DataError
from cracks.labels import LABELS, SPLITS
from cracks.params import SplitParams

SCHEMA = pa.schema(
    [("id", pa.string()), ("label", pa.string()), ("group", pa.string()), ("split", pa.string())]
)


def split_table(manifest: pa.Table, params: SplitParams) -> pa.Table:
    """Return one row a distinct patch: id, label, group and split, sorted by id.

    Byte-identical copies share their id, so they are one patch here and stay together.

    Raises:
        DataError: a split would hold no patch of one of the labels.
    """
    label_of = dict(zip(manifest["id"].to_pylist(), manifest["label"].to_pylist(), strict=True))
    shares = {"train": params.train, "validation": params.validation, "test": params.test}
    ids = sorted(label_of)
    rows = {
        "id": ids,
        "label": [label_of[id_] for id_ in ids],
        "group": ids,
        "split": [split_of_group(group, params.salt, shares) for group in ids],
    }
    _require_every_label(zip(rows["split"], rows["label"], strict=True))
    return pa.table(rows, schema=SCHEMA)


def split_of_group(group: str, salt: str, shares: Mapping[str, float]) -> str:
    """Return the split of a group, decided by its name alone.

    The SHA-256 of salt and name is a uniform number in [0, 1); the shares cut that line. Each
    label is dealt in the same proportions, and no group moves when others come or go.

    Source: Géron, Hands-On Machine Learning, 3rd ed. (2022), chapter 2, "Create a Test Set".
    """
    digest = hashlib.sha256(f"{salt}/{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    edge = 0.0
    for split in SPLITS[:-1]:
        edge += shares[split]
        if position < edge:
            return split
    return SPLITS[-1]


def split_counts(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return how many distinct patches of each label every split holds."""
    pairs = list(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    return {s: {label: pairs.count((s, label)) for label in LABELS} for s in SPLITS}


def _require_every_label(pairs: Iterable[tuple[str, str]]) -> None:
    present = set(pairs)
    for split in SPLITS:
        for label in LABELS:
            if (split, label) not in present:
                raise DataError(
                    f"split: no patch of `{label}` falls to {split}. "
                    "Give more photographs of it, or a larger share of split.* in params.yaml."
                )
