"""Live accuracy: how right the service was, by the labels that people gave."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from cracks.dataset.labels import CRACK
from cracks.evaluation.intervals import measure_with_intervals, rate_with_interval
from cracks.evaluation.metrics import Scored, calibration_bins
from cracks.monitoring.feedback.record import Entry
from cracks.monitoring.history import CalibrationBin, Interval, LiveAccuracy

#: Of the intervals.
RESAMPLES, SEED = 1000, 7


def measure_live(entries: Sequence[Entry], now: datetime) -> LiveAccuracy:
    """Return accuracy, crack recall and calibration on labelled answers, with 95 % intervals.

    An image that was asked about several times counts as one piece of evidence. People label what
    they doubt, so this tells of the labelled answers, not of all.

    Args:
        entries: the one that counts of each answer.
        now: the present.
    """
    if not entries:
        return LiveAccuracy(made=now)
    images = [one.image_sha256 for one in entries]
    cracked = np.array([one.label == CRACK for one in entries])
    called = np.array([one.answered == CRACK for one in entries])
    scores = np.array([one.score for one in entries])
    versions = np.array([one.model_version for one in entries])
    right = cracked == called
    ece = Interval()
    if cracked.any() and not cracked.all():
        measured = measure_with_intervals(Scored(cracked, scores, 0.5, images), RESAMPLES, SEED)
        bounds = measured["intervals"]["ece"]
        ece = Interval(
            rate=measured["ece"], low=bounds["low"], high=bounds["high"], count=len(entries)
        )
    everything = np.ones(len(entries), bool)
    return LiveAccuracy(
        made=now,
        since=min(one.answered_at for one in entries),
        until=max(one.answered_at for one in entries),
        labelled=len(entries),
        model_versions=tuple(sorted(set(versions.tolist()))),
        accuracy=_share(right, everything, images),
        crack_recall=_share(called, cracked, images),
        false_alarms=_share(called, ~cracked, images),
        ece=ece,
        calibration=tuple(
            CalibrationBin(
                score=one["score"],
                share_of_cracks=one["share_of_cracks"],
                answers=one["patches"],
            )
            for one in calibration_bins(cracked, scores)
        ),
        by_version={
            version: _share(right, versions == version, images)
            for version in sorted(set(versions.tolist()))
        },
    )


def _share(
    hits: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], images: Sequence[str]
) -> Interval:
    groups = [image for image, counts in zip(images, among.tolist(), strict=True) if counts]
    found = rate_with_interval(hits[among], groups, RESAMPLES, SEED)
    return Interval(
        rate=found["rate"], low=found["low"], high=found["high"], count=found["patches"]
    )
