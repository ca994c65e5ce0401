"""The beta-binomial model: a rate, and how alike the patches of one photograph are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cracks.evaluation.beta_binomial import Floats, _log_likelihoods, fit_beta_binomial


def _drawn(
    random: np.random.Generator, rate: float, correlation: float, groups: int = 100
) -> tuple[Floats, Floats]:
    """Return hits and patches of photographs with about 17 patches each."""
    patches = random.poisson(16, groups) + 1
    strength = (1 - correlation) / correlation if correlation else np.inf
    rates = (
        random.beta(rate * strength, (1 - rate) * strength, groups)
        if correlation
        else np.full(groups, rate)
    )
    return random.binomial(patches, rates).astype(float), patches.astype(float)


def test_the_likelihood_is_that_of_the_distribution() -> None:
    random, correlations = np.random.default_rng(0), np.array([0.05, 0.4])
    hits, patches = _drawn(random, 0.2, 0.3, groups=30)
    counted = [np.unique(part, return_counts=True) for part in (hits, patches - hits, patches)]
    found = _log_likelihoods(np.array([0.1, 0.3]), correlations, *counted)
    strength = ((1 - correlations) / correlations)[:, None]
    expected = [
        [stats.betabinom.logpmf(hits, patches, s * p, s * (1 - p)).sum() for p in (0.1, 0.3)]
        for s in strength[:, 0]
    ]
    # What depends on neither rate nor correlation is left out.
    assert found - found[0, 0] == pytest.approx(np.array(expected) - expected[0][0])


@pytest.mark.parametrize("misses", [0, 1, 30, 1500])
@pytest.mark.parametrize("patches", [3000, 300_000])
def test_of_patches_that_stand_alone_the_interval_is_that_of_jeffreys(
    misses: int, patches: int
) -> None:
    found = fit_beta_binomial((np.arange(patches) >= misses) * 1.0, np.ones(patches), 0.95)
    low, high = stats.beta.ppf([0.025, 0.975], patches - misses + 0.5, misses + 0.5)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02 * (high - low))
    # Nothing is known of it.
    assert found.correlation == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3, 0.6])
def test_the_correlation_is_found(correlation: float) -> None:
    hits, patches = _drawn(np.random.default_rng(0), 0.8, correlation, groups=1000)
    assert fit_beta_binomial(hits, patches, 0.95).correlation == pytest.approx(
        correlation, abs=0.04
    )


def test_photographs_that_fail_as_a_whole_count_once_and_patches_that_fail_alone_each() -> None:
    patches, groups = np.full(200, 20.0), np.arange(200)
    whole = fit_beta_binomial(patches * (groups >= 20), patches, 0.95)
    alone = fit_beta_binomial(patches - 2.0, patches, 0.95)
    of_groups = stats.beta.ppf([0.025, 0.975], 180.5, 20.5)
    of_patches = stats.beta.ppf([0.025, 0.975], 3600.5, 400.5)
    assert (whole.low, whole.high) == pytest.approx(of_groups, abs=0.015)
    assert (alone.low, alone.high) == pytest.approx(of_patches, abs=0.002)


@pytest.mark.parametrize("groups", [3, 100])
@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3, 0.6])
def test_nineteen_of_twenty_intervals_hold_the_rate(correlation: float, groups: int) -> None:
    random, rate, trials = np.random.default_rng(1), 0.05, 150
    drawn = (_drawn(random, rate, correlation, groups) for _ in range(trials))
    found = [fit_beta_binomial(*one, 0.95) for one in drawn]
    # Two standard errors below 95 %. `make bench ONLY=model` counts more of them.
    assert sum(one.low <= rate <= one.high for one in found) / trials >= 0.91
