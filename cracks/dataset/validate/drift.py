"""Describe a data set in a few numbers, and measure how far another one has drifted from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

#: The facts whose distribution is watched.
WATCHED = ("brightness", "contrast", "sharpness")

#: Bins of equal content in the reference, and the least share that a bin counts with.
BINS, LEAST_SHARE = 10, 1e-4

#: Of data with nothing to compare it with.
NO_DRIFT = dict.fromkeys((*WATCHED, "crack_share"), 0.0)

Profile = dict[str, Any]
Floats = npt.NDArray[np.float64]
Columns = Mapping[str, Floats]


def profile_of(columns: Columns, cracked: npt.NDArray[np.bool_], digest: str) -> Profile:
    """Return what is needed to compare a later data set with this one, as JSON values.

    Args:
        columns: those of `WATCHED`, each (n,).
        cracked: (n,) the labels.
        digest: names the data set.
    """
    bins = {}
    for name in WATCHED:
        edges = bins_of(columns[name])
        shares = shares_in_bins(columns[name], edges)
        bins[name] = {"edges": edges.tolist(), "shares": shares.tolist()}
    return {
        "digest": digest,
        "patches": len(cracked),
        "crack_share": round(float(np.mean(cracked)), 6),
        "bins": bins,
    }


def drift_from(
    reference: Profile | None, columns: Columns, cracked: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return how far a data set lies from `reference`; 0 everywhere where there is none.

    For each of `WATCHED` that is the population stability index: below 0.1 is no change to speak
    of, above 0.25 a large one. `crack_share` is the change of the share of cracks.

    Source: Siddiqi, "Credit Risk Scorecards" (2006), chapter 8.
    """
    if reference is None:
        return NO_DRIFT.copy()
    drift = {}
    for name in WATCHED:
        bins = reference["bins"][name]
        found = shares_in_bins(columns[name], np.array(bins["edges"]))
        drift[name] = round(float(stability_index(np.array(bins["shares"]), found)), 6)
    change = abs(float(np.mean(cracked)) - reference["crack_share"])
    return drift | {"crack_share": round(change, 6)}


def next_profiles(earlier: Mapping[str, Any], today: Profile) -> dict[str, Any]:
    """Return the profiles to keep once today's data set is accepted.

    `accepted` is today's, `before` the one that it was compared with, so that validating the same
    data again compares it with the same reference.
    """
    return {"accepted": today, "before": reference_for(earlier, today["digest"])}


def reference_for(profiles: Mapping[str, Any], digest: str) -> Profile | None:
    """Return the last accepted profile of other data than that of `digest`."""
    return profiles.get("before" if is_accepted(profiles, digest) else "accepted")


def is_accepted(profiles: Mapping[str, Any], digest: str) -> bool:
    """Return whether the data of `digest` is what was accepted last."""
    return bool(profiles.get("accepted", {}).get("digest") == digest)


def bins_of(values: Floats) -> Floats:
    """Return the inner edges of at most `BINS` bins that hold equally many of `values`."""
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.asarray(np.unique(np.quantile(values, edges)).round(6))


def shares_in_bins(values: Floats, edges: Floats) -> Floats:
    """Return the share of `values` in each bin between inner edges, float (edges + 1,)."""
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return np.asarray(counts / max(len(values), 1)).round(6)


def stability_index(expected: Floats, found: Floats) -> Floats:
    """Return the population stability index of shares (…, bins) against those expected (bins,)."""
    before, after = np.maximum(expected, LEAST_SHARE), np.maximum(found, LEAST_SHARE)
    return np.asarray(((after - before) * np.log(after / before)).sum(axis=-1))
