"""Live accuracy: how right the service was, by the labels that people gave."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from cracks.dataset.labels import CRACK
from cracks.evaluation.intervals import measure_with_intervals, rate_with_interval
from cracks.evaluation.metrics import Cracked, Scored, calibration_bins
from cracks.monitoring.feedback.record import Entry
from cracks.monitoring.history import CalibrationBin, Interval, LiveAccuracy

#: Of the intervals.
RESAMPLES, SEED = 1000, 7


def measure_live(entries: Sequence[Entry], now: datetime) -> LiveAccuracy:
    """Return accuracy, crack recall and calibration on labelled predictions, with 95 % intervals.

    An image that was asked about several times counts as one piece of evidence. People label what
    they doubt, so this tells of the labelled predictions, not of all.

    Args:
        entries: the one that counts of each prediction.
        now: the present.
    """
    if not entries:
        return LiveAccuracy(made=now)
    images = np.array([one.image_sha256 for one in entries])
    cracked = np.array([one.label == CRACK for one in entries])
    called = np.array([one.answered == CRACK for one in entries])
    scores = np.array([one.score for one in entries])
    versions = np.array([one.model_version for one in entries])

    def share(hits: Cracked, among: Cracked) -> Interval:
        found = rate_with_interval(hits[among], images[among].tolist())
        return Interval.model_validate(found | {"count": found["patches"]})

    right, everything = cracked == called, np.ones(len(entries), bool)
    ece = Interval()
    if cracked.any() and not cracked.all():
        scored = Scored(cracked, scores, 0.5, images.tolist())
        measured = measure_with_intervals(scored, RESAMPLES, SEED)
        bounds = measured["intervals"]["ece"]
        ece = Interval(
            rate=measured["ece"], low=bounds["low"], high=bounds["high"], count=len(entries)
        )
    bins = calibration_bins(cracked, scores)
    return LiveAccuracy(
        made=now,
        since=min(one.answered_at for one in entries),
        until=max(one.answered_at for one in entries),
        labelled=len(entries),
        model_versions=tuple(np.unique(versions).tolist()),
        accuracy=share(right, everything),
        crack_recall=share(called, cracked),
        false_alarms=share(called, ~cracked),
        ece=ece,
        calibration=tuple(CalibrationBin(**one, answers=one["patches"]) for one in bins),
        by_version={
            version: share(right, versions == version) for version in np.unique(versions).tolist()
        },
    )
