"""Measure what is new since the last accepted data by itself, photograph by photograph.

In the drift of a whole data set a delivery of a fifth is hardly seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.labels import CRACK
from cracks.dataset.validate.drift import (
    WATCHED,
    Floats,
    bins_of,
    shares_in_bins,
    stability_index,
)
from cracks.workspace.stage_reports import DeliveryReport

if TYPE_CHECKING:
    import pandas as pd

#: What chance alone does not exceed in 99 of 100 deliveries, and how many are drawn to find out.
CONFIDENCE: Final = 0.99
DRAWN: Final = 2000

#: Standard errors that a normal deviate does not exceed in 99 of 100 cases, on either side.
DEVIATIONS: Final = 2.576


def new_patches(
    ids: Sequence[str], accepted: pa.Table | None, same_data: bool
) -> npt.NDArray[np.bool_]:
    """Return which patches came after the last accepted data, bool (n,).

    Args:
        ids: (n,) of the patches of today.
        accepted: what `accepted_table` gave for the last accepted data; None where there is none,
            and then nothing is new.
        same_data: whether that data is today's: what was new then is new again.
    """
    if accepted is None:
        return np.zeros(len(ids), np.bool_)
    was_new = dict(zip(accepted["id"].to_pylist(), accepted["new"].to_pylist(), strict=True))
    is_new = [was_new.get(id_, True) if same_data else id_ not in was_new for id_ in ids]
    return np.array(is_new, np.bool_)


def accepted_table(ids: Sequence[str], new: npt.NDArray[np.bool_]) -> pa.Table:
    """Return which patches are accepted, and whether they were new: a row a distinct patch."""
    is_new = dict(zip(ids, new.tolist(), strict=True))
    return pa.table({"id": list(is_new), "new": list(is_new.values())})


def measure_delivery(
    patches: pd.DataFrame, photo: npt.NDArray[np.int64], new: npt.NDArray[np.bool_]
) -> DeliveryReport | None:
    """Return what a delivery holds, and how far it lies from the data accepted before.

    Args:
        patches: n rows of the manifest: site, label, and the columns of `WATCHED`.
        photo: int (n,), the number of each patch's photograph.
        new: bool (n,), whether a patch belongs to the delivery.

    Returns:
        None where nothing is new, or everything. "drift" says by how much the population stability
        index of each of `WATCHED`, over the means of photographs, is larger than chance makes it
        with so few, and the change of the share of cracks larger than 2.6 standard errors, which
        count photographs.
    """
    if new.all() or not new.any():
        return None
    drift: dict[str, float] = {}
    for name in WATCHED:
        means = patches.groupby([photo, new])[name].mean()
        is_new = means.index.get_level_values(1).to_numpy()
        values = means.to_numpy(np.float64)
        drift[name] = drift_beyond_chance(values[~is_new], values[is_new])
    cracked = (patches["label"] == CRACK).to_numpy()
    drift["crack_share"] = _change_beyond_chance(cracked, photo, new)
    sites = patches["site"][new].value_counts().sort_index()
    return {
        "patches": int(new.sum()),
        "photographs": len(np.unique(photo[new])),
        "cracks": int(cracked[new].sum()),
        "sites": {str(site): int(n) for site, n in sites.items()},
        "drift": drift,
    }


def drift_beyond_chance(before: Floats, values: Floats) -> float:
    """Return by how much the population stability index is larger than by chance.

    With few values it is large whatever they are (Yurdakul & Naranjo, "Statistical properties of
    the population stability index", Journal of Risk Model Validation 14, 2020), so as many are
    drawn from `before` again and again.

    Args:
        before: float (m,), at least one.
        values: float (n,), at least one.
    """
    edges = bins_of(before)
    expected = shares_in_bins(before, edges)
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(values), expected / expected.sum(), DRAWN) / len(values)
    chance = np.quantile(stability_index(expected, drawn), CONFIDENCE)
    found = stability_index(expected, shares_in_bins(values, edges))
    return round(max(0.0, float(found - chance)), 6)


def _change_beyond_chance(
    cracked: npt.NDArray[np.bool_], photo: npt.NDArray[np.int64], new: npt.NDArray[np.bool_]
) -> float:
    """Return by how much the share of cracks changed more than by chance.

    The variance is that of a ratio of sums over photographs (Cochran, Sampling Techniques, 3rd
    ed., 1977, section 6.3); of a single photograph nothing is known.
    """
    shares, variances = [], []
    for part in (new, ~new):
        _, group = np.unique(photo[part], return_inverse=True)
        cracks, patches = np.bincount(group, cracked[part]), np.bincount(group)
        count, share = len(patches), cracks.sum() / patches.sum()
        if count < 2:
            return 0.0
        apart = ((cracks - share * patches) ** 2).sum()
        shares.append(share)
        variances.append(count / (count - 1) * apart / patches.sum() ** 2)
    change = abs(shares[0] - shares[1]) - DEVIATIONS * np.sqrt(sum(variances))
    return round(max(0.0, float(change)), 6)
