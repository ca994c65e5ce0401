"""What a pipeline leaves in the service folder after some weeks: trainings, windows, feedback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from cracks.inference.handover.training_summaries import (
    Comparison,
    DataSeen,
    Estimate,
    Outcome,
    TrainingRun,
    record_run,
)
from cracks.monitoring.history import (
    FOLDER,
    Interval,
    LiveAccuracy,
    Signal,
    SignalName,
    TopContributor,
    Window,
    write_live_accuracy,
    write_picture,
    write_window,
)
from cracks.monitoring.prediction_log.locations import below
from cracks.system.atomic_files import write_json
from tests.unit.builders import picture

PICTURE = "alarm.png"

#: (days ago, outcome, version, what is said of it, photographs)
TRAININGS: tuple[tuple[int, Outcome, str | None, str, int], ...] = (
    (28, "promoted", "1", "there was no champion before", 19_626),
    (21, "refused", None, "accuracy may be lower by 0.0052, more than the margin 0.002", 21_940),
    (14, "promoted", "2", "crack recall is higher by 0.0021", 27_305),
    (7, "failed", None, "validate: broken: labels are known. Fix the sources.", 27_305),
    (1, "promoted", "3", "not worse: every bound lies above minus the margin", 38_402),
)


def leave_trainings(service: Path, now: datetime) -> None:
    """Write the trainings and the changes of the champion."""
    for number, (days, outcome, version, reason, photographs) in enumerate(TRAININGS):
        began = now - timedelta(days=days)
        record_run(service, _training(number, began, outcome, version, reason, photographs))
    promoted = [one for one in reversed(TRAININGS) if one[2]]
    earlier = [one[2] for one in promoted[1:]] + [None]
    rows = [
        {
            "version": version,
            "from_version": before,
            "kind": "promote",
            "time": _text(now - timedelta(days=days)),
            "who": "ann",
            "why": reason,
        }
        for (days, _, version, reason, _), before in zip(promoted, earlier, strict=True)
    ]
    write_json(service / "history.json", rows)


def _training(
    number: int,
    began: datetime,
    outcome: Outcome,
    version: str | None,
    reason: str,
    photographs: int,
) -> TrainingRun:
    failed, accuracy = outcome == "failed", 0.9950 + 0.0011 * number
    cracks = photographs // 2 - 600 * number
    estimates = {
        "accuracy": Estimate(value=accuracy, low=accuracy - 0.0031, high=accuracy + 0.0006),
        "recall": Estimate(value=accuracy - 0.002, low=accuracy - 0.006, high=accuracy),
    }
    against = Comparison(
        metric="accuracy",
        challenger=accuracy,
        champion=accuracy - 0.001,
        difference=0.001,
        low=-0.0006,
        high=0.0031,
    )
    return TrainingRun(
        flow_run_id=f"0190c2e6-4b1f-7c31-9b0e-{number:012d}",
        name=f"able-otter-{number}",
        started=_text(began),
        ended=_text(began + timedelta(seconds=267)),
        why="embedding: evidence 131 (needed 100) over 3 windows" if number == 4 else "",
        outcome=outcome,
        verdict=None if failed else "better",
        reasons=[reason],
        run_id=None if failed else f"{number:032x}",
        version=version,
        stages={"ingest": "ran", "split": "ran", "validate": "failed" if failed else "ran"},
        data=DataSeen(
            source="mendeley + site-14.zip",
            patches=photographs + 1_598,
            distinct_patches=photographs,
            quarantined=3 * number,
            labels={"no crack": photographs - cracks, "crack": cracks},
            expectations=27,
            broken=["labels are known"] if failed else [],
            drift={
                "brightness": 0.02 * number,
                "contrast": 0.01 * number,
                "sharpness": 0.03,
                "crack_share": 0.002,
            },
        ),
        test={} if failed else estimates,
        comparison=[against] if number in (2, 4) else [],
    )


def leave_windows(service: Path, now: datetime, hours: int = 96) -> None:
    """Write what monitoring found: quiet days, then a drift that fires and is over."""
    place, rng = below(service / "answers", FOLDER), np.random.default_rng(8)
    drifted = range(hours - 30, hours - 24)
    for hour in range(hours):
        begin = now - timedelta(hours=hours - hour)
        amount = (hour - drifted.start + 1) if hour in drifted else 0
        window = _window(begin, amount, rng)
        write_window(place, window)
    write_picture(place, PICTURE, picture(5, size=120, format_="PNG"))
    accuracy = Interval(rate=0.985, low=0.957, high=0.997, count=200)
    write_live_accuracy(
        place,
        LiveAccuracy(
            made=now,
            since=now - timedelta(days=4),
            until=now,
            labelled=200,
            model_versions=("2", "3"),
            accuracy=accuracy,
            crack_recall=Interval(rate=0.971, low=0.918, high=0.994, count=103),
            false_alarms=Interval(rate=0.01, low=0.0003, high=0.056, count=97),
            ece=Interval(rate=0.012, low=0.004, high=0.03, count=200),
            by_version={"2": Interval(rate=0.97, low=0.9, high=1.0, count=66), "3": accuracy},
        ),
    )


def _window(begin: datetime, amount: int, rng: np.random.Generator) -> Window:
    answers, fires = int(rng.poisson(640)), amount >= 3
    evidence = 5.0**amount if amount else float(rng.uniform(0.2, 1.6))
    novel = rng.binomial(answers, 0.01) / answers + 0.03 * amount
    wrong = rng.binomial(8, 0.02) / 8
    values: dict[SignalName, tuple[float, float, float | None]] = {
        "embedding": (0.002 + 0.01 * amount, evidence, 100),
        "scores": (0.03 + 0.02 * amount, max(0.3, evidence / 4), 100),
        "novelty": (novel, max(0.2, evidence / 2), 100),
        "crack_share": (0.31 + 0.01 * amount, float(rng.uniform(0.4, 1.3)), 100),
        "latency": (rng.binomial(answers, 0.004) / answers, 1.0, None),
        "errors": (rng.binomial(answers, 0.001) / answers, 1.0, None),
        "accuracy": (wrong, 1.0, None),
    }
    usual = {"novelty": (0.01, 0.022), "crack_share": (0.31, 0.37)}
    signals = tuple(
        Signal(
            name=name,
            value=value,
            expected=usual.get(name, (None, None))[0],
            usual_up_to=usual.get(name, (None, None))[1],
            count=answers,
            evidence=gathered,
            needed=needed,
            fired=fires and name == "embedding",
        )
        for name, (value, gathered, needed) in values.items()
    )
    mover = TopContributor(
        prediction_id="v2-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z",
        image_sha256="9e" * 32,
        distance=3.21,
        score=0.97,
        novelty=2.4,
        label="crack",
        nearest_id="4f1c22",
        nearest_label="no crack",
    )
    return Window(
        begin=begin,
        end=begin + timedelta(hours=1),
        made=begin + timedelta(hours=1, seconds=20),
        judged=True,
        answers=answers,
        requests=answers + 3,
        model_version="2",
        run_id=f"{2:032x}",
        signals=signals,
        fired=("embedding",) if fires else (),
        asked_for_training=amount == 3,
        reason=f"embedding: evidence {evidence:.0f} (needed 100)" if fires else "",
        movers=(mover,) if fires else (),
        picture=PICTURE if fires else "",
    )


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
