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

Profile = dict[str, Any]
Columns = Mapping[str, npt.NDArray[np.float64]]


def profile_of(columns: Columns, cracked: npt.NDArray[np.bool_], digest: str) -> Profile:
    """Return what is needed to compare a later data set with this one, as JSON values.

    Args:
        columns: those of `WATCHED`, each (n,).
        cracked: (n,) the labels.
        digest: names the data set.
    """
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bins = {}
    for name in WATCHED:
        inner = np.unique(np.quantile(columns[name], edges)).round(6)
        bins[name] = {"edges": inner.tolist(), "shares": _shares(columns[name], inner).tolist()}
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
        return dict.fromkeys((*WATCHED, "crack_share"), 0.0)
    drift = {name: _stability_index(reference["bins"][name], columns[name]) for name in WATCHED}
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
    accepted: Profile | None = profiles.get("accepted")
    if accepted and accepted["digest"] == digest:
        return profiles.get("before")
    return accepted


def _stability_index(bins: Mapping[str, Any], values: npt.NDArray[np.float64]) -> float:
    expected = np.maximum(bins["shares"], LEAST_SHARE)
    found = np.maximum(_shares(values, np.array(bins["edges"])), LEAST_SHARE)
    return round(float(((found - expected) * np.log(found / expected)).sum()), 6)


def _shares(
    values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return np.asarray(counts / max(len(values), 1)).round(6)
