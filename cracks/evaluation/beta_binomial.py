"""Estimate a rate and how alike the patches of one photograph are, from hits counted by group.

In the beta-binomial model (Williams, Biometrics 31, 1975, 949–952) each group has a rate of its
own, drawn from a beta distribution, and `correlation` is that of two patches of one group: 0 where
patches are independent, 1 where groups hit or miss as a whole.

Few misses tell little of their correlation, so it is not estimated and then believed: all its
values are averaged over, weighted by how well they explain the counts at their best rate (the
profile likelihood). Before any count is seen they weigh the same, which draws the estimate towards
1/2. Given the correlation, the rate has the prior of Jeffreys, whose intervals hold the truth about
as often as they say (Brown, Cai & DasGupta, Statistical Science 16, 2001, 101–133).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Points of the grid: for the correlation, and for the rate.
CORRELATIONS, RATES = 24, 240

#: How often the grid of rates is drawn closer around those that are likely, and which those are.
ZOOMS, LIKELY = 3, 1e-7


@dataclass(frozen=True)
class BetaBinomial:
    """What the counts say of a rate."""

    low: float  # ends of the credible interval of the rate
    high: float
    correlation: float  # mean, in [0, 1]


def fit_beta_binomial(hits: Floats, patches: Floats, confidence: float) -> BetaBinomial:
    """Return where the rate of hits lies, and the correlation within groups.

    Args:
        hits: float (groups,), whole numbers.
        patches: float (groups,), whole numbers of at least 1, and at least the hits.
        confidence: of the interval, in (0, 1), half of the rest on either side.
    """
    # Near 0 and near 1 a little more or less makes the largest difference.
    halves = (np.arange(CORRELATIONS) + 0.5) / CORRELATIONS * np.pi / 2
    correlations, prior = np.sin(halves) ** 2, np.sin(2 * halves)
    counted = [np.unique(part, return_counts=True) for part in (hits, patches - hits, patches)]
    # A rate is the squared sine of an angle, over which the prior of Jeffreys is even.
    start, end = 0.0, np.pi / 2
    for _ in range(ZOOMS):
        width = (end - start) / RATES
        angles = start + width * (np.arange(RATES) + 0.5)
        likelihoods = _log_likelihoods(np.sin(angles) ** 2, correlations, *counted)
        weights = prior[:, None] * _weights(likelihoods)
        by_rate = weights.sum(axis=0)
        likely = np.flatnonzero(by_rate > LIKELY * by_rate.max())
        here, (first, last) = start, (likely[0], likely[-1])
        start, end = max(0.0, here + width * (first - 1)), min(np.pi / 2, here + width * (last + 2))
    below = np.concatenate([[0], by_rate.cumsum()]) / by_rate.sum()
    tail = (1 - confidence) / 2
    ends = np.interp([tail, 1 - tail], below, here + width * np.arange(RATES + 1))
    low, high = np.sin(ends) ** 2
    correlation = weights.sum(axis=1) @ correlations / weights.sum()
    return BetaBinomial(float(low), float(high), float(correlation))


def _weights(likelihoods: Floats) -> Floats:
    """Return what correlations weigh by their best rate, shared out over all rates."""
    best = likelihoods.max(axis=1, keepdims=True)
    shares = np.exp(likelihoods - best)
    return np.asarray(np.exp(best - best.max()) * shares / shares.sum(axis=1, keepdims=True))


def _log_likelihoods(
    rates: Floats,
    correlations: Floats,
    hits: tuple[Floats, npt.NDArray[np.intp]],
    misses: tuple[Floats, npt.NDArray[np.intp]],
    patches: tuple[Floats, npt.NDArray[np.intp]],
) -> Floats:
    """Return the logarithm of the likelihood, (correlations, rates), of counts and how often each.

    Griffiths (Biometrics 29, 1973, 637–648), without what depends on neither.
    """
    strength = ((1 - correlations) / correlations)[:, None]
    return (
        _log_rising(strength * rates, *hits)
        + _log_rising(strength * (1 - rates), *misses)
        - _log_rising(strength, *patches)
    )


def _log_rising(start: Floats, steps: Floats, times: npt.NDArray[np.intp]) -> Floats:
    """Return the logarithm of rising factorials, start (start + 1) …, of so many steps, in sum."""
    from scipy.special import gammaln

    return np.asarray(gammaln(start[..., None] + steps) @ times - times.sum() * gammaln(start))
