"""Measure how a classifier would do at each site if it had learned from all others only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cracks.dataset.shards import rows_of
from cracks.evaluation.cross_validation import NO_FOLD, learned_without, scores_by_fold
from cracks.evaluation.metrics import Scored
from cracks.evaluation.slices import slice_rows
from cracks.training.features.arrays import SplitFeatures
from cracks.workspace.stage_reports import SitesLeftOut

#: What the rows call the fact that they are cut along.
FACT: Final = "site left out"

#: Both labels count alike in the models, so half is where either is as likely.
THRESHOLD: Final = 0.5


@dataclass(frozen=True)
class LeftOut:
    """The sites that were left out one at a time."""

    rows: list[dict[str, Any]]  # as `cracks.evaluation.slices.slice_rows` gives them
    not_measured: dict[str, str]  # the other sites, and why

    def report(self) -> SitesLeftOut:
        """Return the lowest of each rate, for limits."""
        recalls = [row["crack_recall"] for row in self.rows if row["crack_recall"] is not None]
        report: SitesLeftOut = {"sites": len(self.rows), "not_measured": self.not_measured}
        if self.rows:
            report["lowest_accuracy"] = min(row["accuracy"] for row in self.rows)
        if recalls:
            report["lowest_crack_recall"] = min(recalls)
        return report


def measure_sites_left_out(
    parts: Mapping[str, SplitFeatures], manifest: pa.Table, most: int
) -> LeftOut:
    """Leave one site out at a time, learn from the others, and measure on it.

    What shows the same as a patch of that site, such as a copy at another, is not learned from.

    What is learned is a logistic regression on the same features, which takes seconds a site; the
    head of the classifier is one too.

    Args:
        parts: of all splits, with features float32 (n, channels).
        manifest: knows the site of every patch.
        most: sites that are left out, the largest ones.

    Returns:
        No row where there is but one site.
    """
    ids = [id_ for part in parts.values() for id_ in part.ids]
    sites = np.asarray(rows_of(ids, manifest)["site"].to_pylist())
    cracked = np.concatenate([part.cracked for part in parts.values()])
    groups = np.concatenate([part.groups for part in parts.values()])
    order = [site for site, _ in Counter(sites.tolist()).most_common()]
    if len(order) < 2:
        return LeftOut([], {})
    not_measured = dict.fromkeys(order[most:], f"only the {most} largest sites are left out")
    for site in order[:most]:
        others = cracked[learned_without(sites == site, groups)]
        if others.all() or not others.any():
            not_measured[site] = "without it one of the labels does not occur"
    fold = np.full(len(ids), NO_FOLD, np.intp)
    for number, site in enumerate(site for site in order if site not in not_measured):
        fold[sites == site] = number
    if (fold == NO_FOLD).all():
        return LeftOut([], not_measured)
    features = [part.features.all() for part in parts.values()]
    scores = scores_by_fold(features, cracked, fold, groups, balanced=True)
    left = fold != NO_FOLD
    scored = Scored(cracked[left], scores[left], THRESHOLD, groups[left].tolist())
    return LeftOut(slice_rows({}, {FACT: sites[left].tolist()}, scored), not_measured)
