"""Sum up a window of predictions as they stream by: nothing is kept of a million but a few sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.labels import CRACK, LABELS
from cracks.monitoring.drift.reference import Floats, Neighbours, Reference
from cracks.monitoring.history import TopContributor
from cracks.monitoring.prediction_log.feature_projection import sketches_of

#: What is read of a prediction.
COLUMNS = (
    "prediction_id",
    "time",
    "kind",
    "image_sha256",
    "label",
    "score",
    "model_version",
    "milliseconds",
    "novelty",
    "novel",
    "sketch",
)

#: Share of the reference that lies farther from its middle than what counts as near.
FAR_SHARE = 0.05

#: Parts of the reference, in whole groups, of which each is measured by the others.
FOLDS = 5

#: Variances below this share of the mean one say nothing.
LEAST_VARIANCE = 1e-3

#: Places at which the distributions of scores are compared, at most.
EDGES = 32

#: Predictions that are shown as those that moved a window.
TOP_CONTRIBUTORS = 8

#: Rows that are looked at in one go.
CHUNK = 16_384


@dataclass(frozen=True)
class ReferenceMetric:
    """What predictions are measured with.

    Whether the features moved is told by one number a prediction: its Mahalanobis distance, in the
    space of the sketches, from the reference. The two samples of distances are compared beyond
    the reference's 95 % quantile: another material lies there, however it differs.

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples",
    NeurIPS 2018 (the distance); Ledoit, Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", Journal of Multivariate Analysis 88 (2004) (why small variances are
    raised).
    """

    mean: Floats  # (64,)
    whitening: Floats  # (64, 64): makes all variances of the reference 1
    far: float  # the distance from which on a patch counts as far
    edges: npt.NDArray[np.float64]  # scores, rising
    own: Floats  # (n,), distances of the patches of the reference

    @classmethod
    def of(cls, reference: Reference) -> ReferenceMetric:
        """Return the yardstick that a reference is measured with."""
        edges = np.unique(np.quantile(reference.scores, np.linspace(0, 1, EDGES + 2)[1:-1]))
        # A patch lies nearer to what was fitted on itself: each fold is measured by the others.
        fold = reference.groups % FOLDS
        own = np.empty(len(reference), np.float32)
        for number in range(FOLDS):
            fitted = cls(*_fitted(reference.sketches[fold != number]), np.inf, edges, own)
            own[fold == number] = fitted.distances(reference.sketches[fold == number])
        far = float(np.quantile(own, 1 - FAR_SHARE))
        return cls(*_fitted(reference.sketches), far, edges, own)

    def distances(self, sketches: Floats) -> Floats:
        """Return how far sketches (n, 64) lie from the reference, (n,)."""
        # How strong all features are together says little of a material (see
        # `cracks.inference.bundle.novelty`).
        whitened = (_unit(sketches) - self.mean) @ self.whitening
        return np.asarray(np.linalg.norm(whitened, axis=1), np.float32)

    def below(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return whether scores (n,) are at or below each edge, (n, edges)."""
        return np.asarray(scores[:, None] <= self.edges)


@dataclass
class WindowSums:
    """The sums of a window, to which tables of predictions are added.

    Only predictions for patches, by the champion that the reference is of, are compared with it:
    other networks have other features, and a whole photograph has the mean of those of its tiles.
    """

    reference_metric: ReferenceMetric
    model_version: str
    limit_ms: float
    answers: int = 0
    compared: int = 0
    requests: int = 0  # of those compared, about: predictions of one request have the same time
    slow: int = 0
    judged_novel: int = 0  # predictions of the champion that say whether they are novel
    novel: int = 0
    cracked: int = 0
    far: int = 0  # of those with a sketch
    below: npt.NDArray[np.float64] = field(init=False)
    sketched: int = 0
    farthest: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.below = np.zeros(len(self.reference_metric.edges))

    def add_all(self, tables: Iterable[pa.Table]) -> None:
        """Add tables with `COLUMNS`, of any size."""
        for table in tables:
            for start in range(0, len(table), CHUNK):
                self._add(table.slice(start, CHUNK))

    def _add(self, table: pa.Table) -> None:
        self.answers += len(table)
        own = table.filter(pc.equal(table["model_version"], self.model_version))
        # Those of an earlier champion were slow or not all the same.
        self.slow += int(np.count_nonzero(table["milliseconds"].to_numpy() > self.limit_ms))
        self.judged_novel += len(own) - own["novel"].null_count
        self.novel += pc.sum(own["novel"]).as_py() or 0
        patches = own.filter(pc.equal(own["kind"], "predict"))
        if not len(patches):
            return
        self.compared += len(patches)
        self.requests += pc.count_distinct(patches["time"]).as_py()
        self.cracked += pc.sum(pc.equal(patches["label"], CRACK)).as_py() or 0
        self.below += self.reference_metric.below(patches["score"].to_numpy()).sum(axis=0)
        self._add_sketched(patches.filter(pc.is_valid(patches["sketch"])))

    def _add_sketched(self, patches: pa.Table) -> None:
        sketches = sketches_of(patches)
        distances = self.reference_metric.distances(sketches)
        self.sketched += len(distances)
        self.far += int(np.count_nonzero(distances > self.reference_metric.far))
        for row in np.argsort(-distances, kind="stable")[:TOP_CONTRIBUTORS].tolist():
            facts = patches.slice(row, 1).drop_columns(["time"]).to_pylist()[0]
            self.farthest.append((float(distances[row]), facts | {"sketch": sketches[row]}))
        self.farthest = sorted(self.farthest, key=lambda one: -one[0])[:TOP_CONTRIBUTORS]


def _fitted(sketches: Floats) -> tuple[Floats, Floats]:
    """Return the mean of sketches (n, 64), and what makes all their variances 1, (64, 64)."""
    units = _unit(sketches).astype(np.float64)
    variances, directions = np.linalg.eigh(np.cov(units.T))
    raised = np.maximum(variances, max(variances.mean() * LEAST_VARIANCE, 1e-12))
    return (
        units.mean(axis=0).astype(np.float32),
        (directions / np.sqrt(raised)).astype(np.float32),
    )


def top_contributors_of(sums: WindowSums, neighbours: Neighbours) -> list[TopContributor]:
    """Return the predictions farthest from the reference, farthest first, with their nearest."""
    found = []
    units = _unit(neighbours.sketches)
    for _, facts in sums.farthest:
        squares = np.maximum(2 - 2 * units @ _unit(facts["sketch"][None])[0], 0)
        nearest = int(np.argmin(squares))
        found.append(
            TopContributor(
                prediction_id=facts["prediction_id"],
                image_sha256=facts["image_sha256"],
                distance=round(float(np.sqrt(squares[nearest])), 4),
                score=facts["score"],
                novelty=facts["novelty"],
                label=facts["label"],
                nearest_id=neighbours.ids[nearest],
                nearest_label=LABELS[int(neighbours.cracked[nearest])],
            )
        )
    return found


def _unit(sketches: Floats) -> Floats:
    lengths = np.maximum(np.linalg.norm(sketches, axis=1), np.float32(1e-12))
    return np.asarray(sketches / lengths[:, None], np.float32)
