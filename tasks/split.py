"""split: assign the distinct patches to train, validation and test, so that nothing leaks."""

from __future__ import annotations

from cracks.dataset.figures import draw_nearest_pairs
from cracks.dataset.split.assignment import earlier_table, shares_of, split_report, split_table
from cracks.dataset.split.grouping import COLUMNS, find_likeness
from cracks.dataset.split.leakage import nearest_pairs, random_sides
from cracks.system.atomic_files import atomic_replace
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import SplitReport
from cracks.workspace.tables import read_table, write_table

#: Pairs drawn for each way to split.
PAIRS = 8


def split(params: Params, paths: Paths) -> SplitReport:
    """Keep copies, near-copies and photographs together; earlier assignments stay."""
    likeness = find_likeness(read_table(paths.manifest, COLUMNS), paths.images, params.split)
    table = split_table(likeness, params.split, earlier_table(paths.splits, params.split))
    write_table(table, paths.splits)
    ways = {
        "this split": table["split"].to_numpy(),
        "a random split": random_sides(len(table), shares_of(params.split)),
    }
    found = {name: nearest_pairs(likeness, sides, PAIRS) for name, sides in ways.items()}
    with atomic_replace(paths.figures("split")) as figures:
        draw_nearest_pairs(likeness.patches, paths.images, found, figures)
    return split_report(table, likeness, params.split)
