"""Say how sure the metrics are: 95 % confidence intervals that count groups, not images.

Patches of one photograph are no independent evidence, so whole groups are drawn with replacement
(the cluster bootstrap: Davison & Hinkley, Bootstrap Methods and their Application, 1997, section
3.8; Field & Welsh, Journal of the Royal Statistical Society B 69, 2007, 369–390), and the 2.5 and
97.5 % quantiles of the metric over the resamples are taken.

That alone is too narrow where mistakes are rare: with none, every resample is perfect. So the
interval is widened to hold a second one, that of Korn & Graubard (Survey Methodology 24, 1998,
193–201): the exact binomial interval (Clopper & Pearson, Biometrika 26, 1934, 404–413) of as many
independent trials as would vary like the resamples do. One imagined group that goes wholly wrong
is counted in when the trials are counted. Without any mistake the trials are then the groups, which
is the rule of three (Hanley & Lippman-Hand, JAMA 249, 1983, 1743–1745; two-sided, 3.7 takes the
place of 3); with many mistakes the imagined group no longer matters. A rule that came in only at
zero mistakes would make a model with one mistake look surer than one with none.

What it rests on: groups are independent, and whether a group goes wrong has nothing to do with
its size. Where few groups hold much of the split and fail as a whole, no interval is wide enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.evaluation.metrics import Cracked, Scored, Scores, measure
from cracks.inference.bundle.calibration import BINS, bin_of
from cracks.workspace.stage_reports import (
    Interval,
    MetricName,
    RateEstimate,
    SplitMetrics,
    TestMetrics,
)

CONFIDENCE = 0.95

#: Rounded outwards: further decimals change with the number of threads that add up.
DECIMALS = 6

#: Numbers in one block of resamples: 8 MB.
BLOCK = 1_000_000

Floats = npt.NDArray[np.float64]

#: The interval where nothing is known.
WHOLE_RANGE: Interval = {"low": 0.0, "high": 1.0}


@dataclass(frozen=True)
class _Estimate:
    """A metric in [0, 1] and the evidence for it."""

    value: float
    resampled: Floats  # (resamples,), NaN where the metric does not exist
    groups: tuple[int, ...]  # of each kind of patch that it needs
    lowest: float = 1.0  # that the truth may be for another reason than the resamples


def measure_with_intervals(scored: Scored, resamples: int, seed: int) -> TestMetrics:
    """Return what `cracks.evaluation.metrics.measure` returns, and "intervals" of all its metrics.

    Args:
        scored: the patches; those of one group are drawn together.
        resamples: how often the groups are drawn; 1,000 are enough for two digits.
        seed: draws the resamples.

    Returns:
        The metrics as plain numbers, and "intervals": {metric: {"low": x, "high": y}}, of 95 %.
        The interval holds the metric. It is 0 to 1 where fewer than two groups tell anything: of
        those with a crack for the recall, of those predicted `crack` for the precision, and so on.
        Resamples without one of the labels are left out where the metric needs both.
        The expected calibration error of a finite split is too high on average (Kumar, Liang & Ma,
        "Verified Uncertainty Calibration", NeurIPS 2019), so its interval reaches further down.

    Raises:
        ValueError: one of the labels does not occur.
    """
    measured = measure(scored)
    estimates = _estimates(measured, scored, resamples, seed)
    intervals = {name: _interval(estimate) for name, estimate in estimates.items()}
    # F1 rises with the share of found cracks among all that are cracked or called so: a
    # proportion, of which the exact interval is known.
    overlap = intervals["f1"]
    intervals["f1"] = _rounded(*(2 * end / (1 + end) for end in (overlap["low"], overlap["high"])))
    return {**measured, "intervals": intervals}


def rate_with_interval(
    hits: npt.NDArray[np.bool_], groups: Sequence[str], resamples: int, seed: int
) -> RateEstimate:
    """Return the share of hits with its 95 % interval.

    Args:
        hits: bool (n,), one for each patch.
        groups: (n,) names; patches of one group are drawn together.
        resamples: how often the groups are drawn.
        seed: draws the resamples.

    Returns:
        "rate", "low", "high" (all None where there is no patch) and "patches".
    """
    if not len(hits):
        return {"rate": None, "low": None, "high": None, "patches": 0}
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    sums = sums_by_group(group, hits, np.ones(len(hits)))
    totals = np.concatenate([w @ sums for w in _weights(len(names), resamples, seed, len(names))])
    rate = float(np.mean(hits))
    estimate = _Estimate(rate, totals[:, 0] / totals[:, 1], (len(names),))
    return {"rate": rate, **_interval(estimate), "patches": len(hits)}


def _estimates(
    measured: SplitMetrics, scored: Scored, resamples: int, seed: int
) -> dict[MetricName, _Estimate]:
    cracked, scores, called = scored.cracked, scored.scores, scored.called
    names, group = np.unique(np.asarray(scored.groups), return_inverse=True)
    outcomes = [cracked & called, cracked & ~called, ~cracked & called, ~cracked & ~called]
    too_low = (cracked - scores)[:, None] * (bin_of(scores, BINS)[:, None] == np.arange(BINS))
    sums = sums_by_group(group, *outcomes, (cracked - scores) ** 2, *too_low.T)
    ranked = _Ranked(cracked, scores, group)
    drawn = _weights(len(names), resamples, seed, max(len(scores), len(names)))
    blocks = [(weights @ sums, ranked.areas(weights)) for weights in drawn]
    totals, areas = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    found, missed, alarms, passed, squares = totals[:, :5].T
    everything = found + missed + alarms + passed

    def share(name: MetricName, part: Floats, whole: Floats, of: Cracked) -> _Estimate:
        return _Estimate(measured[name], _ratio(part, whole), (_count(group, of),))

    everyone, both = np.ones_like(cracked), (_count(group, cracked), _count(group, ~cracked))
    touched = cracked | called
    overlap = measured["f1"] / (2 - measured["f1"])
    apart = totals[:, 5:] / everything[:, None]
    return {
        "accuracy": share("accuracy", found + passed, everything, everyone),
        "precision": share("precision", found, found + alarms, called),
        "recall": share("recall", found, found + missed, cracked),
        "specificity": share("specificity", passed, passed + alarms, ~cracked),
        "f1": _Estimate(overlap, _ratio(found, found + missed + alarms), (_count(group, touched),)),
        "roc_auc": _Estimate(measured["roc_auc"], areas[:, 0], both),
        "pr_auc": _Estimate(measured["pr_auc"], areas[:, 1], both),
        "brier": share("brier", squares, everything, everyone),
        "ece": _Estimate(
            measured["ece"],
            np.abs(apart).sum(axis=1),
            (len(names),),
            _lowest_error(apart, sums[:, 5:].sum(axis=0) / len(scores)),
        ),
    }


def _lowest_error(resampled: Floats, measured: Floats) -> float:
    """Return how small the expected calibration error may be.

    Chance drives every bin apart, never together, so all resamples can exceed the truth. But the
    error cannot lie further from the truth than the bins do in sum (triangle inequality), and
    that sum is what the resamples are from the split.

    Args:
        resampled: float (resamples, bins), mean label minus mean score times the bin's share.
        measured: float (bins,), the same of the split.
    """
    distance = np.abs(resampled - measured).sum(axis=1)
    error = np.abs(measured).sum()
    return float(error - np.quantile(distance, (1 + CONFIDENCE) / 2))


def _interval(estimate: _Estimate) -> Interval:
    resampled = estimate.resampled[~np.isnan(estimate.resampled)]
    if min(estimate.groups) < 2 or not len(resampled):
        return WHOLE_RANGE.copy()
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(resampled, [tail, 1 - tail]))
    exact = _exact_interval(estimate.value, _trials(estimate, float(resampled.var())))
    return _rounded(
        max(0.0, min(low, exact["low"], estimate.value, estimate.lowest)),
        min(1.0, max(high, exact["high"], estimate.value)),
    )


def _rounded(low: float, high: float) -> Interval:
    scale = 10**DECIMALS
    return {"low": math.floor(low * scale) / scale, "high": math.ceil(high * scale) / scale}


def _trials(estimate: _Estimate, variance: float) -> float:
    """Return how many independent trials tell as much as the groups do.

    For a proportion p of n trials the variance is p (1 - p) / n, so n = p (1 - p) / variance. The
    areas under the curves and the mean errors, which lie in [0, 1] too, are treated alike. The
    imagined group is one of each kind that the metric needs: for an area, one with cracks that
    are scored below all else, and one without that is scored above all.
    """
    from scipy import stats

    shifts = [1 / (count + 1) for count in estimate.groups]
    towards_the_rarer = -1 if estimate.value >= 0.5 else 1
    value = min(max(estimate.value + towards_the_rarer * sum(shifts), 0.0), 1.0)
    trials = value * (1 - value) / (variance + sum(shift**2 for shift in shifts))
    quantile = (1 + CONFIDENCE) / 2
    # A variance that was estimated from few groups is uncertain itself (Korn & Graubard, 1998).
    penalty = stats.norm.ppf(quantile) / stats.t.ppf(quantile, min(estimate.groups) - 1)
    return float(trials * penalty**2)


def _exact_interval(share: float, trials: float) -> Interval:
    """Return the interval of Clopper and Pearson; `trials` need not be whole."""
    from scipy import stats

    tail = (1 - CONFIDENCE) / 2
    hits, misses = share * trials, (1 - share) * trials
    return {
        "low": float(stats.beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0,
        "high": float(stats.beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0,
    }


class _Ranked:
    """Patches in the order of their scores, for the areas under weighted curves."""

    def __init__(self, cracked: Cracked, scores: Scores, group: npt.NDArray[np.intp]) -> None:
        order = np.argsort(scores, kind="stable")
        self._group, self._cracked = group[order], cracked[order]
        # Where each level of equal scores begins.
        self._levels = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))

    def areas(self, weights: Floats) -> Floats:
        """Return ROC AUC and average precision, (resamples, 2), NaN without one of the labels.

        Args:
            weights: float (resamples, groups), how often each group was drawn.
        """
        drawn = weights[:, self._group]
        cracks = np.add.reduceat(drawn * self._cracked, self._levels, axis=1)
        clean = np.add.reduceat(drawn * ~self._cracked, self._levels, axis=1)
        cracks_below, clean_below = cracks.cumsum(axis=1), clean.cumsum(axis=1)
        all_cracks, all_clean = cracks_below[:, -1:], clean_below[:, -1:]
        # Equal scores are half a success (Hanley & McNeil, Radiology 143, 1982, 29–36).
        ordered = (cracks * (clean_below - clean / 2)).sum(axis=1)
        cracks_from = all_cracks - cracks_below + cracks
        called = cracks_from + all_clean - clean_below + clean
        precision = np.divide(cracks_from, called, out=np.zeros_like(called), where=called > 0)
        average = (cracks * precision).sum(axis=1)
        found, passed = all_cracks[:, 0], all_clean[:, 0]
        roc = _ratio(ordered, found * passed)
        return np.column_stack([roc, np.where(passed > 0, _ratio(average, found), np.nan)])


def _weights(groups: int, resamples: int, seed: int, width: int) -> Iterator[Floats]:
    """Yield in blocks how often each group was drawn: float (at most BLOCK / width, groups)."""
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // width)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = random.integers(groups, size=(count, groups)) + groups * np.arange(count)[:, None]
        counted = np.bincount(drawn.ravel(), minlength=count * groups)
        yield counted.reshape(count, groups).astype(np.float64)


def sums_by_group(group: npt.NDArray[np.intp], *columns: npt.NDArray[Any]) -> Floats:
    """Return the sums of some columns (n,) over each group, float (groups, columns).

    Args:
        group: the number of each row's group, (n,).
        columns: what is added up.
    """
    return np.column_stack([np.bincount(group, column) for column in columns])


def _count(group: npt.NDArray[np.intp], of: Cracked) -> int:
    return len(np.unique(group[of]))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
