"""`python -m benchmarks.monitored WHAT`: predictions as a service would have recorded them.

    undrifted   how many windows of held-out photographs give an alarm
    drifted     after how many windows with another material the first alarm comes
    many        write a million predictions of one hour
    watch       watch what `many` wrote

The workspace is the current folder. What the champion says of held-out photographs stands in
data/scores.parquet. These are assigned to windows, written as the record of predictions, and
watched as the flow does. The last line is JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.labels import LABELS
from cracks.images.synthetic_surfaces import MATERIALS, draw_surface
from cracks.inference.bundle.bundle import open_bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import Champion, name_champion, stage_bundle
from cracks.monitoring.drift.reference import read_reference
from cracks.monitoring.drift.watch import open_baseline, watch
from cracks.monitoring.history import Window
from cracks.monitoring.prediction_log.feature_projection import (
    sketch,
    sketch_column,
    sketches_of,
)
from cracks.monitoring.prediction_log.part_files import PartFolder
from cracks.monitoring.prediction_log.schema import SCHEMA
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table

#: Windows without drift, those before and after drift begins, and the predictions of each.
WINDOWS, BEFORE, AFTER, SIZE = 200, 5, 6, 50

#: The share of another material, and how many pictures of it are drawn.
SHARE, DRAWN = 0.2, 40

#: Predictions of the large record, and how many in one part.
MANY, PART = 1_000_000, 62_500

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, LATE = timedelta(hours=1), timedelta(minutes=6)

#: Name of the service's process in the record.
PROCESS = "bench-1-abcdef"

Rows = dict[str, npt.NDArray[Any]]
Positions = npt.NDArray[np.intp]


def undrifted(paths: Paths) -> dict[str, Any]:
    """Return how many of the windows without drift gave an alarm, in two orders of the patches."""
    rows, rng = _held_out(paths), np.random.default_rng(4)
    count = len(rows["score"])
    _, group = np.unique(rows["group"], return_inverse=True)
    orders = {
        "patches": rng.permutation(count),
        "photographs": np.argsort(rng.permutation(group.max() + 1)[group], kind="stable"),
    }
    found: dict[str, Any] = {}
    for assigned, order in orders.items():
        requests = group if assigned == "photographs" else np.arange(count)
        windows = _windows(paths, rows, _parts(order)[:WINDOWS], requests)
        judged = [one for one in windows if one.judged]
        found[assigned] = {
            "windows": len(judged),
            "alarms": sum(bool(one.fired) for one in judged),
            "by_signal": Counter(name for one in judged for name in one.fired),
        }
    return found


def drifted(paths: Paths) -> dict[str, int | None]:
    """Return after how many windows with each material the first alarm comes; None for never."""
    rows, classifier = _held_out(paths), Classifier(open_bundle(paths.bundle))
    clean = _parts(np.random.default_rng(4).permutation(len(rows["score"])))
    kept = SIZE - int(SIZE * SHARE)
    found: dict[str, int | None] = {}
    for material in MATERIALS:
        rng = np.random.default_rng(5)
        others = _drawn(classifier, material, rng)
        mixed = {name: np.concatenate([rows[name], others[name]]) for name in others}
        parts = clean[:BEFORE]
        for part in clean[BEFORE : BEFORE + AFTER]:
            strange = len(rows["score"]) + rng.choice(DRAWN, SIZE - kept, replace=False)
            parts.append(np.concatenate([part[:kept], strange]))
        windows = _windows(paths, mixed, parts, np.arange(len(mixed["score"])))
        late = [number for number, one in enumerate(windows) if one.fired and number >= BEFORE]
        found[material] = late[0] - BEFORE + 1 if late else None
    return found


def many(paths: Paths) -> dict[str, Any]:
    """Write a million predictions of one hour."""
    rows, rng, record = _held_out(paths), np.random.default_rng(6), _Record(paths)
    for _ in range(MANY // PART):
        chosen = rng.integers(0, len(rows["score"]), PART)
        record.write(rows, chosen, BEGIN, np.sort(rng.integers(0, 3_600_000_000, PART)))
    size = sum(file.stat().st_size for file in record.service.rglob("answers/**/*.parquet"))
    return {"megabytes": round(size / 1e6)}


def watch_many(paths: Paths) -> dict[str, Any]:
    """Watch them; the process has nothing else to do."""
    params, service = load_params(paths.params).monitor, paths.root / "service"
    start = time.perf_counter()
    windows = watch(service, open_baseline(service, params), params, BEGIN + HOUR + LATE)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "predictions": sum(one.answers for one in windows)}


# --- what is predicted ----------------------------------------------------------------------------


def _held_out(paths: Paths) -> Rows:
    """Return held-out patches that are not in the reference, though others of their groups may be.

    In METU a few groups of hundreds have one label and are a sixth of all cracks. Without them what
    is left would not be like the reference, and that is no drift.
    """
    table, splits = read_table(paths.scores), read_table(paths.splits)
    group_of = dict(zip(splits["id"].to_pylist(), splits["group"].to_pylist(), strict=True))
    reference = open_bundle(paths.bundle).reference
    assert reference
    ids = table["id"].to_pylist()
    new = ~np.isin(ids, read_reference(reference).ids)
    rows = {
        "score": table["score"].to_numpy(),
        "novel": table["novel"].to_numpy(zero_copy_only=False),
        "sketch": sketches_of(table),
        "group": np.array([group_of[id_] for id_ in ids]),
    }
    return {name: column[new] for name, column in rows.items()}


def _drawn(classifier: Classifier, material: str, rng: np.random.Generator) -> Rows:
    """Return what the champion says of drawn pictures of a material, which have no group."""
    pixels = np.stack([draw_surface(material, rng) for _ in range(DRAWN)])
    measured = classifier.measure_pixels(pixels[i : i + 4] for i in range(0, DRAWN, 4))
    assert measured.features is not None
    assert measured.novelty is not None
    return {
        "score": measured.scores,
        "novel": measured.novelty > 1,
        "sketch": sketch(measured.features),
    }


def _parts(order: Positions) -> list[Positions]:
    return [order[i : i + SIZE] for i in range(0, len(order) - SIZE + 1, SIZE)]


# --- what is recorded -----------------------------------------------------------------------------


class _Record:
    """The record of a new service folder, in which the workspace's bundle is the champion."""

    def __init__(self, paths: Paths) -> None:
        self.service = paths.root / "service"
        shutil.rmtree(self.service, ignore_errors=True)
        bundle = open_bundle(paths.bundle)
        self._threshold, self._version = bundle.content.threshold, "1"
        champion = Champion(
            model_name="crack-classifier",
            version=self._version,
            run_id="0" * 32,
            bundle=stage_bundle(self.service, bundle, self._version),
            bundle_digest=bundle.digest,
            promoted_at=BEGIN.isoformat(),
        )
        name_champion(self.service, champion)
        self._folder, self._written = PartFolder(self.service / "answers"), 0

    def write(
        self, rows: Rows, chosen: Positions, hour: datetime, microseconds: npt.NDArray[np.int64]
    ) -> None:
        """Write the chosen rows as one part, each so many microseconds after the hour."""
        self._written += 1
        count, scores, novel = len(chosen), rows["score"][chosen], rows["novel"][chosen]
        times = pa.array(microseconds + int(hour.timestamp()) * 1_000_000, pa.int64())
        digests = [f"{number:064x}" for number in chosen.tolist()]
        stamp = f"{hour:%Y%m%dT%H%M%S}000Z"
        columns: dict[str, Any] = {
            "prediction_id": [f"v1-0123456789ab-{digest[-16:]}-{stamp}" for digest in digests],
            "time": times.cast(SCHEMA.field("time").type),
            "kind": ["predict"] * count,
            "image_sha256": digests,
            "label": [LABELS[int(score >= self._threshold)] for score in scores.tolist()],
            "score": scores,
            "raw_score": scores,
            "threshold": np.full(count, self._threshold),
            "model_version": [self._version] * count,
            "run_id": ["0" * 32] * count,
            "milliseconds": np.full(count, 10, np.float32),
            "novelty": np.where(novel, 1.5, 0.5),
            "novel": novel,
            "crack_share": pa.nulls(count, pa.float64()),
            "sketch": sketch_column(rows["sketch"][chosen]),
            "image": pa.nulls(count, pa.binary()),
        }
        arrays = [pa.array(columns[one.name], one.type) for one in SCHEMA]
        self._folder.write(pa.table(arrays, schema=SCHEMA), PROCESS, self._written)


def _windows(
    paths: Paths, rows: Rows, parts: Sequence[Positions], requests: Positions
) -> list[Window]:
    """Record the predictions, an hour a part, and watch them.

    Args:
        paths: of the workspace.
        rows: what is predicted.
        parts: positions of the rows of each hour.
        requests: of each row, the request that it comes with: those of one have one time.
    """
    record, params = _Record(paths), load_params(paths.params).monitor
    watched = open_baseline(record.service, params)

    windows: list[Window] = []
    for number, part in enumerate(parts):
        hour = BEGIN + number * HOUR
        _, seconds = np.unique(requests[part], return_inverse=True)
        order = np.argsort(seconds, kind="stable")
        record.write(rows, part[order], hour, seconds[order] * 1_000_000)
        windows += watch(record.service, watched, params, hour + HOUR + LATE)
    return windows


if __name__ == "__main__":
    measure = {"undrifted": undrifted, "drifted": drifted, "many": many, "watch": watch_many}
    print(json.dumps(measure[sys.argv[1]](Paths(Path.cwd()))))
