"""How far windows lie from the reference without any drift: drawn from the reference itself.

Many windows of as many patches are drawn, and each is compared with a reference that is drawn
again, with replacement, in whole groups: the real one is a draw of photographs as well. The share
of drawn windows that lie at least as far as the predictions is the p-value (Monte Carlo test:
Davison, Hinkley, Bootstrap Methods and their Application, 1997, sections 3.8 and 4.2; Phipson,
Smyth, "Permutation P-values Should Never Be Zero", Statistical Applications in Genetics and
Molecular Biology 9, 2010).

Patches of one photograph are alike. So groups are drawn first, no more than there were requests,
and of each group as many patches as requests have: a folder of one wall that comes in one request
is one piece of evidence. Requests are taken to be independent of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.monitoring.drift.reference import Reference
from cracks.monitoring.drift.window_sums import ReferenceMetric

#: Windows that are drawn: the smallest p-value is one in a thousand.
DRAWN = 999

#: They are drawn in such blocks, so that memory stays small.
BLOCKS = (111,) * 9

#: A drawn window has at most this share of the reference; larger ones vary less.
LARGEST_SHARE = 0.25

SEED = 80

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """What was measured on drawn windows, (DRAWN,) each."""

    embedding: Floats  # share of patches that lie far from the reference
    scores: Floats  # largest difference of the distribution functions
    novelty: Floats  # share
    crack_share: Floats  # share


class NullDistribution:
    """Windows like the reference."""

    def __init__(
        self,
        reference: Reference,
        reference_metric: ReferenceMetric,
        called: npt.NDArray[np.bool_],
        expected_crack_share: float = 0,
    ) -> None:
        """Measure the reference.

        Args:
            reference: held-out patches of the champion.
            reference_metric: what they and the predictions are measured with.
            called: (n,) which of them the champion calls cracked.
            expected_crack_share: the share of cracked patches that the service is asked about;
                0: that of the reference. Its patches are weighted to have it.
        """
        self._known: dict[tuple[int, int], Drawn] = {}
        weights = _weights(reference.cracked, expected_crack_share)
        columns = np.concatenate(
            [
                (reference_metric.own > reference_metric.far)[:, None],
                reference_metric.below(reference.scores),
                reference.novel[:, None],
                called[:, None],
                np.ones((len(reference), 1)),
            ],
            axis=1,
        )
        self._edges, self._size = len(reference_metric.edges), len(reference)
        self._groups = np.unique(reference.groups, return_inverse=True)[1]
        sizes = np.bincount(self._groups)
        self._place = np.arange(len(reference)) - (np.cumsum(sizes) - sizes)[self._groups]
        self._columns = columns.astype(np.float32)
        self._weighted = (columns * weights[:, None]).astype(np.float32)
        self._group_sums = np.zeros((len(sizes), columns.shape[1]))
        np.add.at(self._group_sums, self._groups, self._weighted)
        self._group_weights = np.bincount(self._groups, weights) / sizes
        total = self._weighted.sum(axis=0, dtype=np.float64)
        far, self.below, novel, called_share = self._parts(total / total[-1])
        self.far = float(far[0])
        self.novelty, self.crack_share = float(novel), float(called_share)

    def drawn(self, patches: int, requests: int) -> Drawn:
        """Return what windows of so many patches, of at most so many groups, look like."""
        asked = patches, requests
        if asked not in self._known:
            self._known[asked] = self._draw(patches, requests)
        return self._known[asked]

    def _draw(self, patches: int, requests: int) -> Drawn:
        rng = np.random.default_rng(SEED)
        wanted = max(min(patches, int(self._size * LARGEST_SHARE)), 1)
        # As many of a photograph as one request has, and as many again.
        most = math.ceil(2 * patches / max(requests, 1)) if requests < patches else 1
        parts = [self._some(rng, count, wanted, requests, most) for count in BLOCKS]
        sums, others = (np.concatenate(one) for one in zip(*parts, strict=True))
        features, below, novel, called = self._parts(sums / sums[:, -1:])
        redrawn = self._parts(others / others[:, -1:])
        return Drawn(
            (features - redrawn[0])[:, 0] + self.far,
            np.abs(below - redrawn[1]).max(axis=1, initial=0),
            novel - redrawn[2] + self.novelty,
            called - redrawn[3] + self.crack_share,
        )

    def _some(
        self, rng: np.random.Generator, count: int, patches: int, requests: int, most: int
    ) -> tuple[Floats, Floats]:
        """Return the sums of some drawn windows, and of the references redrawn for each."""
        sizes = np.bincount(self._groups)
        fitting = np.minimum(sizes, most)
        # The smallest of such keys is a draw without replacement, as likely as its weight.
        # Efraimidis, Spirakis, "Weighted random sampling with a reservoir" (2006).
        # A group of which only some patches fit is drawn the more often: every patch is as likely.
        weights = np.maximum(self._group_weights * sizes / fitting, 1e-12)
        keys = rng.exponential(size=(count, len(sizes))) / weights
        order = np.argsort(keys, axis=1)
        before = np.cumsum(fitting[order], axis=1) - fitting[order]
        fits = (before < patches) & (np.arange(len(sizes)) < max(requests, 1))
        groups = np.zeros(order.shape, bool)
        np.put_along_axis(groups, order, fits, axis=1)
        # Within a group the order is that of digests, so any stretch of it is a random part.
        turned = (self._place + rng.integers(0, sizes, (count, len(sizes)))[:, self._groups]) % (
            sizes[self._groups]
        )
        taken = (groups[:, self._groups] & (turned < most)).astype(np.float32)
        # Another reference would have had other photographs: the bootstrap of whole groups.
        again = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), count)
        return np.asarray(taken @ self._columns, np.float64), again @ self._group_sums

    def _parts(self, means: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        edges = means.shape[-1] - 3 - self._edges
        return (
            means[..., :edges],
            means[..., edges : edges + self._edges],
            means[..., -3],
            means[..., -2],
        )


def p_value(value: float, drawn: Floats) -> float:
    """Return the p-value: the share of values at least as large, `value` included; never 0."""
    as_large = int(np.count_nonzero(drawn >= value - 1e-12))
    return (1 + as_large) / (len(drawn) + 1)


def _weights(cracked: npt.NDArray[np.bool_], share: float) -> Floats:
    found = float(np.mean(cracked))
    if not share or not 0 < found < 1:
        return np.ones(len(cracked))
    return np.where(cracked, share / found, (1 - share) / (1 - found))
