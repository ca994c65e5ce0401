"""Say how sure the metrics are: 95 % confidence intervals that count groups, not images.

Patches of one photograph are no independent evidence. How much of it they are is seen from the
mistakes: shares of patches (accuracy, crack recall …) have the interval of a beta-binomial model,
`cracks.evaluation.beta_binomial`, which knows how correlated the mistakes of one group are.

For what is no share of patches, the areas under curves and the mean errors, whole groups are drawn
with replacement (the cluster bootstrap: Davison & Hinkley, Bootstrap Methods and their Application,
1997, section 3.8; Field & Welsh, Journal of the Royal Statistical Society B 69, 2007, 369–390), and
the 2.5 and 97.5 % quantiles of the metric over the resamples are taken. That alone is too narrow
where mistakes are rare: with none, every resample is perfect. So the interval is widened to hold a
second one, that of Korn & Graubard (Survey Methodology 24, 1998, 193–201): the exact binomial
interval (Clopper & Pearson, Biometrika 26, 1934, 404–413) of as many independent trials as would
vary like the resamples do. One imagined trial that goes wrong is counted in when the trials are
counted; it is worth as many patches as are together worth one independent one.

The worst case, for every metric, is that of groups that fail as a whole: the imagined trial is a
whole group. Without any mistake the trials are then the groups, which is the rule of three (Hanley
& Lippman-Hand, JAMA 249, 1983, 1743–1745; two-sided, 3.7 takes the place of 3).

What all of it rests on: groups are independent, and whether a group goes wrong has nothing to do
with its size. Where few groups hold much of the split and fail as a whole, no interval is wide
enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.evaluation.beta_binomial import Floats, fit_beta_binomial
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

#: The interval where nothing is known.
WHOLE_RANGE: Interval = {"low": 0.0, "high": 1.0}


@dataclass(frozen=True)
class _Estimate:
    """A metric in [0, 1] and the evidence for it."""

    value: float
    resampled: Floats  # (resamples,), NaN where the metric does not exist
    patches: tuple[Floats, ...]  # by group, of each kind that it needs
    lowest: float = 1.0  # that the truth may be for another reason than the resamples


@dataclass(frozen=True)
class _Rate:
    """A share of patches, counted by group."""

    hits: Floats  # (groups,)
    patches: Floats  # (groups,)

    @property
    def value(self) -> float:
        """The share; 0 where there is no patch."""
        return float(self.hits.sum() / max(self.patches.sum(), 1))


def measure_with_intervals(scored: Scored, resamples: int, seed: int) -> TestMetrics:
    """Return what `cracks.evaluation.metrics.measure` returns, and intervals of all its metrics.

    Args:
        scored: the patches; those of one group are no independent evidence.
        resamples: how often the groups are drawn; 1,000 are enough for two digits.
        seed: draws the resamples.

    Returns:
        The metrics as plain numbers; "intervals": {metric: {"low": x, "high": y}}, of 95 %, with
        the mistakes of a group as correlated as they are seen to be; "worst_case_intervals", the
        same if groups fail as a whole; and "correlations", of the metrics that are shares of
        patches.
        An interval holds its metric. It is 0 to 1 where fewer than two groups tell anything: of
        those with a crack for the recall, of those predicted `crack` for the precision, and so on.
        Resamples without one of the labels are left out where the metric needs both.
        The expected calibration error of a finite split is too high on average (Kumar, Liang & Ma,
        "Verified Uncertainty Calibration", NeurIPS 2019), so its interval reaches further down.

    Raises:
        ValueError: one of the labels does not occur.
    """
    measured = measure(scored)
    estimates, rates = _estimates(measured, scored, resamples, seed)
    fitted = {name: _fitted(rate) for name, rate in rates.items()}
    _, correlation = fitted["accuracy"]
    seen = {
        name: fitted[name][0] if name in fitted else _interval(estimate, correlation)
        for name, estimate in estimates.items()
    }
    worst = {name: _around(_interval(one, 1.0), seen[name]) for name, one in estimates.items()}
    # F1 rises with the share of found cracks among all that are cracked or called so.
    for intervals in (seen, worst):
        ends = intervals["f1"]["low"], intervals["f1"]["high"]
        intervals["f1"] = _rounded(*(2 * end / (1 + end) for end in ends))
    return {
        **measured,
        "intervals": seen,
        "worst_case_intervals": worst,
        "correlations": {name: round(seen_in, 3) for name, (_, seen_in) in fitted.items()},
    }


def rate_with_interval(hits: npt.NDArray[np.bool_], groups: Sequence[str]) -> RateEstimate:
    """Return the share of hits with its 95 % interval.

    Args:
        hits: bool (n,), one for each patch.
        groups: (n,) names; patches of one group are no independent evidence.

    Returns:
        "rate", "low", "high" (all None where there is no patch) and "patches".
    """
    if not len(hits):
        return {"rate": None, "low": None, "high": None, "patches": 0}
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    rate = _Rate(*sums_by_group(group, hits, np.ones(len(hits))).T)
    return {"rate": rate.value, **_fitted(rate)[0], "patches": len(hits)}


def _fitted(rate: _Rate) -> tuple[Interval, float]:
    """Return the interval of a rate, which holds its value, and the correlation in a group."""
    telling = rate.patches > 0
    if telling.sum() < 2:
        return WHOLE_RANGE.copy(), 1.0
    found = fit_beta_binomial(rate.hits[telling], rate.patches[telling], CONFIDENCE)
    interval = _rounded(min(found.low, rate.value), max(found.high, rate.value))
    return interval, found.correlation


def _estimates(
    measured: SplitMetrics, scored: Scored, resamples: int, seed: int
) -> tuple[dict[MetricName, _Estimate], dict[MetricName, _Rate]]:
    cracked, scores, called = scored.cracked, scored.scores, scored.called
    names, group = np.unique(np.asarray(scored.groups), return_inverse=True)
    outcomes = [cracked & called, cracked & ~called, ~cracked & called, ~cracked & ~called]
    too_low = (cracked - scores)[:, None] * (bin_of(scores, BINS)[:, None] == np.arange(BINS))
    sums = sums_by_group(group, *outcomes, (cracked - scores) ** 2, *too_low.T)
    ranked = _Ranked(cracked, scores, group)
    drawn = _weights(len(names), resamples, seed, max(len(scores), len(names)))
    blocks = [(weights @ sums, ranked.areas(weights)) for weights in drawn]
    totals, areas = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    rates, resampled = _rates(*sums[:, :4].T), _rates(*totals[:, :4].T)
    patches = rates["accuracy"].patches
    both = rates["recall"].patches, rates["specificity"].patches
    everything = resampled["accuracy"].patches
    apart = totals[:, 5:] / everything[:, None]
    lowest = _lowest_error(apart, sums[:, 5:].sum(axis=0) / len(scores))
    estimates: dict[MetricName, _Estimate] = {
        name: _Estimate(rates[name].value, _ratio(one.hits, one.patches), (rates[name].patches,))
        for name, one in resampled.items()
    }
    estimates |= {
        "roc_auc": _Estimate(measured["roc_auc"], areas[:, 0], both),
        "pr_auc": _Estimate(measured["pr_auc"], areas[:, 1], both),
        "brier": _Estimate(measured["brier"], _ratio(totals[:, 4], everything), (patches,)),
        "ece": _Estimate(measured["ece"], np.abs(apart).sum(axis=1), (patches,), lowest),
    }
    return estimates, rates


def _rates(
    found: Floats, missed: Floats, alarms: Floats, passed: Floats
) -> dict[MetricName, _Rate]:
    """Return the metrics that are shares of patches; for F1 the share that it rises with."""
    cracks, clean, touched = found + missed, passed + alarms, found + missed + alarms
    return {
        "accuracy": _Rate(found + passed, cracks + clean),
        "precision": _Rate(found, found + alarms),
        "recall": _Rate(found, cracks),
        "specificity": _Rate(passed, clean),
        "f1": _Rate(found, touched),
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


def _interval(estimate: _Estimate, correlation: float) -> Interval:
    """Return the interval of an estimate if the mistakes of one group are correlated like this."""
    resampled = estimate.resampled[~np.isnan(estimate.resampled)]
    by_group = [patches[patches > 0] for patches in estimate.patches]
    groups = min(map(len, by_group))
    if groups < 2 or not len(resampled):
        return WHOLE_RANGE.copy()
    worth = [_independent(patches, correlation) for patches in by_group]
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(resampled, [tail, 1 - tail]))
    trials = _trials(estimate.value, float(resampled.var()), worth, groups)
    exact = _exact_interval(estimate.value, trials)
    return _rounded(
        max(0.0, min(low, exact["low"], estimate.value, estimate.lowest)),
        min(1.0, max(high, exact["high"], estimate.value)),
    )


def _independent(patches: Floats, correlation: float) -> float:
    """Return how many independent patches are worth as much: as many as groups if it is 1.

    Rao & Scott, Biometrics 48, 1992, 577–585, with groups of mean size.
    """
    return float(patches.sum() / (1 + (patches.mean() - 1) * correlation))


def _around(one: Interval, other: Interval) -> Interval:
    return {"low": min(one["low"], other["low"]), "high": max(one["high"], other["high"])}


def _rounded(low: float, high: float) -> Interval:
    scale = 10**DECIMALS
    return {"low": math.floor(low * scale) / scale, "high": math.ceil(high * scale) / scale}


def _trials(value: float, variance: float, worth: Sequence[float], groups: int) -> float:
    """Return how many independent trials tell as much as the groups do.

    For a proportion p of n trials the variance is p (1 - p) / n, so n = p (1 - p) / variance. The
    areas under the curves and the mean errors, which lie in [0, 1] too, are treated alike. The
    imagined trial is one of each kind that the metric needs: for an area, one with cracks that
    are scored below all else, and one without that is scored above all.

    Args:
        value: of the metric.
        variance: of its resamples.
        worth: how many independent trials there are at most, of each kind.
        groups: of the kind with the fewest.
    """
    from scipy import stats

    shifts = [1 / (trials + 1) for trials in worth]
    towards_the_rarer = -1 if value >= 0.5 else 1
    shifted = min(max(value + towards_the_rarer * sum(shifts), 0.0), 1.0)
    trials = shifted * (1 - shifted) / (variance + sum(shift**2 for shift in shifts))
    quantile = (1 + CONFIDENCE) / 2
    # A variance that was estimated from few groups is uncertain itself (Korn & Graubard, 1998).
    penalty = stats.norm.ppf(quantile) / stats.t.ppf(quantile, groups - 1)
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


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
