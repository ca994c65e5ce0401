"""Measure a classifier from labels and scores: pure functions, plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.dataset.labels import LABELS
from cracks.inference.bundle.calibration import expected_calibration_error
from cracks.workspace.stage_reports import MetricName, SplitMetrics

Cracked = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Patches with the scores that a classifier gave them."""

    cracked: Cracked  # bool (n,), the true labels
    scores: Scores  # float (n,), probability of a crack in [0, 1]
    threshold: float  # a score at or above it means `crack`
    groups: Sequence[str]  # (n,) names; patches of one group are no independent evidence

    @property
    def called(self) -> Cracked:
        """Whether each is predicted to be cracked, bool (n,)."""
        return self.scores >= self.threshold


@dataclass(frozen=True)
class Metric:
    """A number that is measured on a split, and where it is shown."""

    name: MetricName  # in reports, in MLflow, and in params.yaml
    spoken: str
    in_card: bool = False  # the card of a model version, and what the demo prints
    in_summary: bool = False  # the summary of a training, on the service's page
    #: The patches it is a share of, where champion and challenger are compared by it.
    compared_on: Callable[[Cracked], Cracked] | None = None


#: Every metric, in the order in which it is shown. Each has an interval on test.
METRICS = (
    Metric("accuracy", "accuracy", in_card=True, in_summary=True, compared_on=lambda it: it | ~it),
    Metric("precision", "precision", in_card=True, in_summary=True),
    Metric("recall", "crack recall", in_card=True, in_summary=True, compared_on=lambda it: it),
    Metric("specificity", "specificity", in_summary=True),
    Metric("f1", "F1", in_card=True),
    Metric("roc_auc", "area under the ROC curve", in_card=True),
    Metric("pr_auc", "average precision", in_card=True),
    Metric("brier", "Brier score", in_card=True),
    Metric("ece", "expected calibration error"),
)


def spoken(name: str) -> str:
    """Return the display name of a metric."""
    return next(metric.spoken for metric in METRICS if metric.name == name)


#: Rows of a table for each curve, by name.
Curves = dict[str, list[dict[str, Any]]]


def measure(scored: Scored) -> SplitMetrics:
    """Return the metrics of one split as plain numbers.

    Returns:
        accuracy, precision, recall (the crack recall), specificity (the share of clean patches that
        pass), f1, roc_auc, pr_auc (average precision), brier (Brier 1950, mean squared error of the
        probability), ece (expected calibration error), the last four independent of `threshold`,
        and the confusion counts.

    Raises:
        ValueError: one of the labels does not occur.
    """
    from sklearn import metrics

    cracked, scores, predicted = scored.cracked, scored.scores, scored.called
    tn, fp, fn, tp = metrics.confusion_matrix(cracked, predicted, labels=[False, True]).ravel()
    if tp + fn == 0 or tn + fp == 0:
        raise ValueError("both labels must occur to measure a classifier")
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        cracked, predicted, average="binary", zero_division=0.0
    )
    return {
        "patches": len(scores),
        "accuracy": float((tp + tn) / len(scores)),
        "precision": float(precision),
        "recall": float(recall),
        "specificity": float(tn / (tn + fp)),
        "f1": float(f1),
        "roc_auc": float(metrics.roc_auc_score(cracked, scores)),
        "pr_auc": float(metrics.average_precision_score(cracked, scores)),
        "brier": float(metrics.brier_score_loss(cracked, scores)),
        "ece": expected_calibration_error(cracked, scores),
        "confusion": {
            "found_cracks": int(tp),
            "missed_cracks": int(fn),
            "false_alarms": int(fp),
            "clean_passed": int(tn),
        },
    }


def choose_threshold(cracked: Cracked, scores: Scores, min_recall: float) -> float:
    """Return the most accurate threshold that finds at least `min_recall` of the cracks.

    Among equally accurate ones the nearest to 0.5 wins, so that a saturated split does not put
    it at an edge. Candidates lie half-way between neighbouring scores.

    Args:
        cracked: bool (n,), with at least one crack.
        scores: float (n,) in [0, 1].
        min_recall: share of the cracks that must be found, in [0, 1].
    """
    levels = np.unique(scores)
    middles = (levels[:-1] + levels[1:]) / 2
    # 0.5 itself is a candidate: on well separated scores it is as accurate as any.
    candidates = np.unique(np.concatenate([[0.0, 0.5, 1.0], middles]))
    cracks, clean = np.sort(scores[cracked]), np.sort(scores[~cracked])
    missed = np.searchsorted(cracks, candidates, side="left")
    alarms = len(clean) - np.searchsorted(clean, candidates, side="left")
    allowed = missed <= np.floor(len(cracks) * (1 - min_recall) + 1e-9)
    errors = np.where(allowed, missed + alarms, np.iinfo(np.int64).max)
    best = candidates[errors == errors.min()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def curves(scored: Scored, raw: Scores) -> Curves:
    """Return ROC, precision–recall and calibration curves and all labels, as rows of tables.

    `raw`, float (n,), are the scores before they were calibrated.
    """
    from sklearn import metrics

    cracked, scores = scored.cracked, scored.scores
    false_rate, true_rate, _ = metrics.roc_curve(cracked, scores)
    precision, recall, _ = metrics.precision_recall_curve(cracked, scores)
    return {
        "roc": _rows(false_alarm_rate=false_rate, crack_recall=true_rate),
        "precision_recall": _rows(crack_recall=recall, precision=precision),
        "calibration": calibration_bins(cracked, scores),
        "calibration_before": calibration_bins(cracked, raw),
        "answers": [
            {"actual": LABELS[int(is_crack)], "predicted": LABELS[int(is_called)]}
            for is_crack, is_called in zip(cracked, scored.called, strict=True)
        ],
    }


def classification_table(scored: Scored) -> str:
    """Return precision, recall, F1 and count of each label as a text table."""
    from sklearn import metrics

    table = metrics.classification_report(
        scored.cracked,
        scored.called,
        labels=[False, True],
        target_names=LABELS,
        zero_division=0.0,
    )
    return str(table)


def _rows(**columns: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def calibration_bins(cracked: Cracked, scores: Scores, bins: int = 10) -> list[dict[str, Any]]:
    """Return mean score, share of cracks and count of each equally wide bin that holds a patch."""
    index = np.clip((scores * bins).astype(int), 0, bins - 1)
    return [
        {
            "score": float(scores[index == i].mean()),
            "share_of_cracks": float(cracked[index == i].mean()),
            "patches": int((index == i).sum()),
        }
        for i in range(bins)
        if (index == i).any()
    ]


def worst_mistakes(scored: Scored, count: int) -> npt.NDArray[np.intp]:
    """Return the positions of the wrongly predicted patches, the most certain mistakes first."""
    wrong = np.flatnonzero(scored.called != scored.cracked)
    distance = np.abs(scored.scores[wrong] - scored.threshold)
    return wrong[np.argsort(-distance, kind="stable")][:count]


def least_certain(scored: Scored, count: int) -> npt.NDArray[np.intp]:
    """Return the positions of the `count` scores nearest to the threshold, nearest first."""
    return np.argsort(np.abs(scored.scores - scored.threshold), kind="stable")[:count]
