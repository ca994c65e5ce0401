"""A service whose predictions are known: sketches of a few kinds of concrete, and of another."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cracks.dataset.labels import LABELS
from cracks.inference.bundle.bundle import NEIGHBOURS, REFERENCE
from cracks.inference.handover.champion import Champion, name_champion, read_champion, stage_bundle
from cracks.inference.handover.prediction_id import PredictionId
from cracks.monitoring.drift.reference import (
    Floats,
    Neighbours,
    Reference,
    choose_neighbours,
    choose_reference,
    write_patches,
)
from cracks.monitoring.drift.watch import DriftBaseline, open_baseline, watch
from cracks.monitoring.history import Window
from cracks.monitoring.prediction_log.part_files import PartFolder
from cracks.monitoring.prediction_log.schema import RecordedPrediction, as_table
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.params import MonitorParams
from tests.unit.builders import champion_of, params_with, sealed_bundle

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECTION = params_with().monitor

_numbers, _images = itertools.count(1), itertools.count()
_KINDS = np.random.default_rng(1).normal(size=(4, 64)) * np.array([[2], [2], [2], [6]])


def sketches(count: int, seed: int, *, strange: float = 0) -> Floats:
    """Return sketches of concrete; a share of them, the last ones, of something else."""
    rng = np.random.default_rng(seed)
    found = _KINDS[rng.integers(0, 3, count)] + rng.normal(size=(count, 64))
    others = round(strange * count)
    if others:
        found[-others:] = _KINDS[3] + rng.normal(size=(others, 64))
    return np.asarray(found, np.float32)


def reference(count: int = 900) -> Reference:
    """Return held-out patches in groups of one to five."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(count), rng.integers(1, 6, count))[:count]
    cracked = (rng.random(count) < 0.5)[groups]  # a photograph's patches have one label
    return choose_reference(
        [digest_of_bytes(f"patch {number}".encode()) for number in range(count)],
        [f"{group:04}" for group in groups],
        cracked,
        np.where(cracked, rng.beta(9, 1, count), rng.beta(1, 9, count)),
        rng.random(count) < 0.01,
        sketches(count, 3),
    )


def neighbours(count: int = 300) -> Neighbours:
    """Return training patches."""
    return choose_neighbours(
        [digest_of_bytes(f"trained on {number}".encode()) for number in range(count)],
        np.random.default_rng(4).random(count) < 0.5,
        sketches(count, 5),
    )


def put_in_service(service: Path, version: str = "1") -> Champion:
    """Hand over a bundle with a reference; its network predicts nothing."""
    folder = service.parent / f"bundle-{version}"
    folder.mkdir(parents=True)
    write_patches(reference(), folder / REFERENCE)
    write_patches(neighbours(), folder / NEIGHBOURS)
    bundle = sealed_bundle(folder, version.encode())
    champion = champion_of(version, bundle.digest, stage_bundle(service, bundle, version))
    name_champion(service, champion)
    return champion


def prediction(time: datetime = NOON, of: str = "", **changes: Any) -> RecordedPrediction:
    """Return what is recorded of a prediction, of an image of its own if none is named."""
    digest = digest_of_bytes((of or str(next(_images))).encode())
    content: dict[str, Any] = {
        "prediction_id": str(PredictionId("1", "0" * 12, digest[:16], time)),
        "time": time,
        "kind": "predict",
        "image_sha256": digest,
        "label": "crack",
        "score": 0.1 + 0.2,  # a float that no shorter type holds
        "raw_score": 0.7,
        "threshold": 0.5,
        "model_version": "1",
        "run_id": "1" * 32,
        "milliseconds": 12.5,
    }
    return RecordedPrediction(**content | changes)


def predictions_in(
    hour: datetime, count: int = 60, *, strange: float = 0, seed: int | None = None, **changes: Any
) -> list[RecordedPrediction]:
    """Return predictions of one hour, each of a request of its own."""
    number = next(_numbers)
    rng = np.random.default_rng(number if seed is None else seed)
    found = sketches(count, number if seed is None else seed, strange=strange)
    predictions = []
    for row in range(count):
        time = hour + timedelta(seconds=row)
        cracked = rng.random() < 0.5
        score = float(rng.beta(9, 1) if cracked else rng.beta(1, 9))
        of_this = {"label": LABELS[int(score >= 0.5)], "score": score, "sketch": found[row]}
        of_this |= {"novelty": 0.5, "novel": bool(rng.random() < 0.01)}
        predictions.append(replace(prediction(time, f"image {number} {row}", **of_this), **changes))
    return predictions


def record(service: Path, predictions: list[RecordedPrediction]) -> Path:
    """Write predictions as one part, and return its file."""
    folder = PartFolder(service / "answers")
    part = folder.write(as_table(predictions), "web7-4711-qkzmwe", next(_numbers))
    return folder.file(part)


def watched(service: Path, now: datetime, section: MonitorParams = SECTION) -> list[Window]:
    """Look at the service as the flow does."""
    champion = read_champion(service)
    assert champion
    known = _opened(champion.bundle_digest + champion.version, service, section)
    return watch(service, known, section, now)


@lru_cache(maxsize=4)
def _opened(_: str, service: Path, section: MonitorParams) -> DriftBaseline:
    """Open a champion once: what windows like its reference look like takes a while to draw."""
    return open_baseline(service, section)
