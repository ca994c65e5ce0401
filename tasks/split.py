"""split: deal the distinct patches to train, validation and test."""

from __future__ import annotations

from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report
from cracks.splitting import split_counts, split_table
from cracks.tables import read_table, write_table


def split(params: Params, paths: Paths) -> Report:
    """Deal every patch by its content; copies stay together.

    Raises:
        DataError: a split would lack one of the labels.
    """
    manifest = read_table(paths.manifest)
    table = split_table(manifest, params.split)
    write_table(table, paths.splits)
    counts = split_counts(table)
    return {
        "patches": len(table),
        "copies_left_out": len(manifest) - len(table),
        "counts": counts,
        "shares": {name: round(sum(c.values()) / len(table), 4) for name, c in counts.items()},
    }
