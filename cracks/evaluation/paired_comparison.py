"""Compare two classifiers on the same patches: differences, how sure they are, and chance.

Patches of one photograph are no independent evidence, so everything counts groups of them.

Bounds of a difference come from the Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981,
130–134) over groups: each group gets an exponential weight where the cluster bootstrap (Field &
Welsh, Journal of the Royal Statistical Society B 69, 2007, 369–390) draws it 0, 1, 2 … times. For
the lower bound one imagined group of mean size is added, which the challenger gets wholly wrong
and the champion right; for the upper bound the other way round. This is Gaffke's bound for the mean
of a variable of known range (Mathematical Methods of Statistics 14, 2005, 451–467; Phan, Thomas &
Learned-Miller, ICML 2021). Where every group is one patch and the challenger only loses, it is
exactly that of Clopper & Pearson (Biometrika 26, 1934, 404–413), and where both models predict
alike it is the rule of three: 3 / groups at 95 %. No difference seen is not no difference.

Whether a difference may be chance is tested by exchange: if the models are equally good, their
predictions could be exchanged in any group, so the sum of differences is compared with the sums
under all exchanges (Fisher, The Design of Experiments, 1935, section 21; Pitman, Journal of the
Royal Statistical Society Supplement 4, 1937, 119–130). Where every group is one patch, this is
McNemar's exact test, one-sided. Several metrics are tested at once by the largest of their
standardised sums (Westfall & Young, Resampling-Based Multiple Testing, 1993, section 2.3), which,
unlike a correction by Bonferroni, knows that accuracy and crack recall share their mistakes.

McNemar's exact test on the patches themselves (Psychometrika 12, 1947, 153–157; exact: Edwards,
Psychometrika 13, 1948, 185–187, corrects its approximation) is reported beside, and decides
nothing: it takes patches for independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.evaluation.beta_binomial import Floats
from cracks.evaluation.intervals import BLOCK, sums_by_group
from cracks.evaluation.metrics import METRICS, Cracked

#: Up to so many groups with a difference, all exchanges are counted; above, some are drawn.
COUNTED_GROUPS = 12
EXCHANGES = 9999

#: Sums of differences are compared up to the rounding of their addition.
ROUNDING = 1e-9

#: Decimals of the reported numbers.
DECIMALS = 6

Called = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """How much better (above 0) or worse a challenger is in one metric."""

    metric: str
    challenger: float
    champion: float
    difference: float
    low: float  # one-sided bounds, each at the confidence
    high: float
    p_higher: float  # of a sum this high by chance, in any metric
    p_lower: float
    mcnemar_p: float  # two-sided, as if patches were independent
    patches: int  # that the metric is measured on
    groups: int
    gained: int  # patches that only the challenger predicts correctly
    lost: int  # patches that only the champion predicts correctly
    groups_gained: int  # groups with more gained than lost
    groups_lost: int

    def to_json(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return asdict(self)


@dataclass(frozen=True)
class _Sums:
    """What a metric says of each group that has patches for it."""

    difference: Floats  # (groups,), correctly predicted patches, challenger minus champion
    patches: Floats  # (groups,)


def compare(
    cracked: Cracked,
    challenger: Called,
    champion: Called,
    groups: Sequence[str],
    *,
    confidence: float,
    resamples: int,
    seed: int = 0,
) -> list[Difference]:
    """Compare two models on the same patches.

    Args:
        cracked: bool (n,), the true labels, both of which occur.
        challenger: bool (n,), whether it predicts `crack`.
        champion: bool (n,), likewise.
        groups: (n,) names; patches of one group are no independent evidence.
        confidence: of each one-sided bound, in (0.5, 1).
        resamples: how often the groups are given new weights; 1,000 are enough for two digits.
        seed: draws the weights, and the exchanges where there are too many to count.

    Returns:
        A difference for each metric that is compared.

    Raises:
        ValueError: there is no crack.
    """
    if not cracked.any():
        raise ValueError("recall cannot be compared: no patch is cracked")
    rights = [challenger == cracked, champion == cracked]
    of = {metric.name: metric.compared_on(cracked) for metric in METRICS if metric.compared_on}
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    gain = rights[0].astype(np.float64) - rights[1]
    sums = {
        metric: _Sums(*sums_by_group(group, gain * members, members).T)
        for metric, members in of.items()
    }
    bounds = _bounds(list(sums.values()), len(names), confidence, resamples, seed)
    chances = exchange_test(np.stack([one.difference for one in sums.values()]), seed)
    return [
        _difference(metric, [right[of[metric]] for right in rights], sums[metric], ends, chance)
        for metric, ends, chance in zip(of, bounds, chances, strict=True)
    ]


def exchange_test(differences: Floats, seed: int = 0) -> list[tuple[float, float]]:
    """Return for each metric how likely a sum as high, and one as low, is by chance in any of them.

    Args:
        differences: float (metrics, groups), what each group says.
        seed: draws the exchanges, where more than COUNTED_GROUPS groups show a difference.

    Returns:
        (p of higher, p of lower) a metric. With drawn exchanges the observed one counts as drawn,
        so that no p is 0 (Phipson & Smyth, Statistical Applications in Genetics and Molecular
        Biology 9, 2010, article 39).
    """
    telling = differences[:, differences.any(axis=0)]
    # Only the sign of a group changes under an exchange: the length stays.
    lengths = np.sqrt((telling**2).sum(axis=1, keepdims=True))
    scaled = np.divide(telling, lengths, out=np.zeros_like(telling), where=lengths > 0)
    observed = scaled.sum(axis=1)
    higher = lower = np.zeros(len(differences))
    count = 0
    for signs in _exchanges(telling.shape[1], seed):
        sums = signs @ scaled.T
        higher = higher + _reached(sums.max(axis=1), observed)
        lower = lower + _reached(-sums.min(axis=1), -observed)
        count += len(signs)
    return list(zip((higher / count).tolist(), (lower / count).tolist(), strict=True))


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p of McNemar's exact test: of so uneven a division by chance."""
    from scipy import stats

    if not gained + lost:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def _exchanges(groups: int, seed: int) -> Iterator[Floats]:
    """Yield signs, (at most BLOCK / groups, groups); the very first row changes none."""
    if groups <= COUNTED_GROUPS:
        every = np.arange(2**groups)[:, None] >> np.arange(groups)
        yield np.where(every & 1, -1.0, 1.0)
        return
    yield np.ones((1, groups))
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // groups)
    for start in range(0, EXCHANGES, rows):
        count = min(rows, EXCHANGES - start)
        yield np.where(random.integers(2, size=(count, groups), dtype=np.int8), -1.0, 1.0)


def _reached(sums: Floats, observed: Floats) -> Floats:
    return np.asarray((sums[:, None] >= observed - ROUNDING).sum(axis=0), np.float64)


def _bounds(
    sums: Sequence[_Sums], groups: int, confidence: float, resamples: int, seed: int
) -> list[tuple[float, float]]:
    """Return the lower and the upper bound of each metric, all from the same weights."""
    weights = np.concatenate(list(_weights(groups + 1, resamples, seed)))
    bounds = []
    for one in sums:
        size = one.patches[one.patches > 0].mean()
        patches = weights[:, :-1] @ one.patches + weights[:, -1] * size
        seen = weights[:, :-1] @ one.difference
        imagined = weights[:, -1] * size
        low = np.quantile((seen - imagined) / patches, 1 - confidence)
        high = np.quantile((seen + imagined) / patches, confidence)
        bounds.append((float(low), float(high)))
    return bounds


def _weights(groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // groups)
    for start in range(0, resamples, rows):
        yield random.standard_exponential((min(rows, resamples - start), groups))


def _difference(
    metric: str,
    rights: Sequence[npt.NDArray[np.bool_]],
    sums: _Sums,
    bounds: tuple[float, float],
    chances: tuple[float, float],
) -> Difference:
    challenger, champion = rights
    gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    return Difference(
        metric=metric,
        challenger=float(challenger.mean()),
        champion=float(champion.mean()),
        difference=round((gained - lost) / len(challenger), DECIMALS),
        low=round(bounds[0], DECIMALS),
        high=round(bounds[1], DECIMALS),
        p_higher=round(chances[0], DECIMALS),
        p_lower=round(chances[1], DECIMALS),
        mcnemar_p=round(mcnemar(gained, lost), DECIMALS),
        patches=len(challenger),
        groups=int((sums.patches > 0).sum()),
        gained=gained,
        lost=lost,
        groups_gained=int((sums.difference > 0).sum()),
        groups_lost=int((sums.difference < 0).sum()),
    )
