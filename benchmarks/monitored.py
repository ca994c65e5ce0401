"""`python -m benchmarks.monitored WHAT WORKSPACE`: answers as a service would have recorded them.

What the champion says of held-out photographs stands in data/scores.parquet. These are dealt to
windows, written as the record of answers, and watched as the flow does. The last line is JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
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

#: Windows without drift, those before drift begins, and the answers of each.
WINDOWS, BEFORE, ANSWERS = 200, 5, 50

#: The share of another material, and how many pictures of it are drawn.
SHARE, DRAWN = 0.2, 40

#: Answers of the large record, and how many in one part.
MANY, PART = 1_000_000, 62_500

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)

Rows = dict[str, npt.NDArray[Any]]


def main(arguments: Sequence[str]) -> None:
    """Do one of the measurements."""
    what, workspace = arguments
    paths = Paths(Path(workspace).resolve())
    found = {
        "undrifted": undrifted,
        "drifted": drifted,
        "many": many,
        "watch": watched_many,
    }[what](paths)
    print(json.dumps(found))


def undrifted(paths: Paths) -> dict[str, Any]:
    """Return how many of the windows without drift gave an alarm, dealt in two ways."""
    rows = _held_out(paths)
    found: dict[str, Any] = {}
    for assigned in ("patches", "photographs"):
        order = _order(rows, assigned)
        windows = _windows(paths, rows, _parts(order)[:WINDOWS], assigned)
        judged = [one for one in windows if one.judged]
        found[assigned] = {
            "windows": len(judged),
            "alarms": sum(bool(one.fired) for one in judged),
            "by_signal": _alarms(judged),
            "p_below_1_percent": _share_below(judged),
        }
    return found


def drifted(paths: Paths) -> dict[str, Any]:
    """Return after how many windows with each material the first alarm comes, and the reason."""
    rows, bundle = _held_out(paths), open_bundle(paths.bundle)
    order, classifier = _order(rows, "patches"), Classifier(bundle)
    size = bundle.content.patch_size
    found: dict[str, Any] = {}
    for material in MATERIALS:
        rng = np.random.default_rng(5)
        pixels = np.stack([draw_surface(material, rng) for _ in range(DRAWN)])
        if size != pixels.shape[1]:
            raise ValueError(f"patches of {pixels.shape[1]} pixels are drawn, not {size}")
        measured = classifier.measure_pixels(pixels[i : i + 4] for i in range(0, DRAWN, 4))
        assert measured.features is not None
        assert measured.novelty is not None
        others: Rows = {
            "score": measured.scores,
            "novel": measured.novelty > 1,
            "sketch": sketch(measured.features),
            "group": np.arange(DRAWN),
        }
        mixed = {name: np.concatenate([rows[name], others[name]]) for name in others}
        clean, count = _parts(order), int(ANSWERS * SHARE)
        parts = clean[:BEFORE]
        for part in clean[BEFORE : BEFORE + 6]:
            strange = len(rows["score"]) + rng.choice(DRAWN, count, replace=False)
            parts.append(np.concatenate([part[:-count], strange]))
        windows = _windows(paths, mixed, parts, "patches")
        fired = [number for number, one in enumerate(windows) if one.fired]
        late = [number for number in fired if number >= BEFORE]
        found[material] = {
            "windows": late[0] - BEFORE + 1 if late else None,
            "too_early": len(fired) - len(late),
            "reason": windows[late[0]].reason if late else "",
        }
    return found


def many(paths: Paths) -> dict[str, Any]:
    """Write a million answers of one hour."""
    rows, rng = _held_out(paths), np.random.default_rng(6)
    service = _service(paths)
    folder = PartFolder(service / "answers")
    version = _champion(paths, service).version
    for number in range(MANY // PART):
        chosen = rng.integers(0, len(rows["score"]), PART)
        microseconds = np.sort(rng.integers(0, 3_600_000_000, PART))
        folder.write(
            _table(paths, rows, chosen, BEGIN, microseconds, version), _PROCESS, number + 1
        )
    size = sum(file.stat().st_size for file in (service / "answers").rglob("*.parquet"))
    return {"answers": MANY, "megabytes": round(size / 1e6)}


def watched_many(paths: Paths) -> dict[str, Any]:
    """Watch them; the process has nothing else to do."""
    params, service = load_params(paths.params), paths.root / "service"
    start = time.perf_counter()
    watched = open_baseline(service, params.monitor)
    windows = watch(service, watched, params.monitor, BEGIN + HOUR + timedelta(minutes=6))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "answers": sum(one.answers for one in windows)}


# --- windows --------------------------------------------------------------------------------------

_PROCESS = "bench-1-abcdef"


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
    groups = np.array([group_of[id_] for id_ in ids])
    return {
        "score": table["score"].to_numpy()[new],
        "novel": table["novel"].to_numpy(zero_copy_only=False)[new],
        "sketch": sketches_of(table)[new],
        "group": groups[new],
    }


def _order(rows: Rows, assigned: str) -> npt.NDArray[np.intp]:
    """Return the order in which they are asked about."""
    rng = np.random.default_rng(4)
    if assigned == "patches":
        return rng.permutation(len(rows["score"]))
    _, group = np.unique(rows["group"], return_inverse=True)
    return np.argsort(rng.permutation(group.max() + 1)[group], kind="stable")


def _parts(order: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    return [order[i : i + ANSWERS] for i in range(0, len(order) - ANSWERS + 1, ANSWERS)]


def _windows(
    paths: Paths, rows: Rows, parts: Sequence[npt.NDArray[np.intp]], assigned: str
) -> list[Window]:
    """Record the answers, an hour a part, and watch them."""
    service = _service(paths)
    folder, version = PartFolder(service / "answers"), _champion(paths, service).version
    params = load_params(paths.params)
    watched = open_baseline(service, params.monitor)
    windows: list[Window] = []
    for number, part in enumerate(parts):
        hour = BEGIN + number * HOUR
        # A photograph's patches come in one request, and have one time.
        first = np.unique(rows["group"][part], return_inverse=True)[1]
        requests = first if assigned == "photographs" else np.arange(len(part))
        order = np.argsort(requests, kind="stable")
        times = requests[order] * 1_000_000
        folder.write(_table(paths, rows, part[order], hour, times, version), _PROCESS, number + 1)
        now = hour + HOUR + timedelta(minutes=6)
        windows += watch(service, watched, params.monitor, now)
    return windows


def _table(
    paths: Paths,
    rows: Rows,
    chosen: npt.NDArray[np.intp],
    hour: datetime,
    microseconds: npt.NDArray[np.int64],
    version: str,
) -> pa.Table:
    count, threshold = len(chosen), open_threshold(paths)
    scores = rows["score"][chosen]
    base = int(hour.timestamp()) * 1_000_000
    digests = [f"{number:064x}" for number in chosen.tolist()]
    stamp = f"{hour:%Y%m%dT%H%M%S}000Z"
    columns: dict[str, Any] = {
        "prediction_id": [f"v1-0123456789ab-{digest[-16:]}-{stamp}" for digest in digests],
        "time": pa.array(microseconds + base, pa.int64()).cast(SCHEMA.field("time").type),
        "kind": ["predict"] * count,
        "image_sha256": digests,
        "label": [LABELS[int(score >= threshold)] for score in scores.tolist()],
        "score": scores,
        "raw_score": scores,
        "threshold": np.full(count, threshold),
        "model_version": [version] * count,
        "run_id": ["0" * 32] * count,
        "milliseconds": np.full(count, 10, np.float32),
        "novelty": np.where(rows["novel"][chosen], 1.5, 0.5),
        "novel": rows["novel"][chosen],
        "crack_share": pa.nulls(count, pa.float64()),
        "sketch": sketch_column(rows["sketch"][chosen]),
        "image": pa.nulls(count, pa.binary()),
    }
    return pa.table([pa.array(columns[one.name], one.type) for one in SCHEMA], schema=SCHEMA)


def open_threshold(paths: Paths) -> float:
    """Return the threshold of the workspace's bundle."""
    return float(json.loads((paths.bundle / "bundle.json").read_bytes())["threshold"])


def _service(paths: Paths) -> Path:
    service = paths.root / "service"
    shutil.rmtree(service, ignore_errors=True)
    return service


def _champion(paths: Paths, service: Path) -> Champion:
    bundle = open_bundle(paths.bundle)
    name = stage_bundle(service, bundle, "1")
    champion = Champion(
        model_name="crack-classifier",
        version="1",
        run_id="0" * 32,
        bundle=name,
        bundle_digest=bundle.digest,
        promoted_at=BEGIN.isoformat(),
    )
    name_champion(service, champion)
    return champion


def _alarms(windows: Sequence[Window]) -> dict[str, int]:
    names = sorted({name for one in windows for name in one.fired})
    return {name: sum(name in one.fired for one in windows) for name in names}


def _share_below(windows: Sequence[Window]) -> dict[str, float]:
    """Return the share of windows in which a signal alone has a p-value of at most 1 %."""
    found: dict[str, list[float]] = {}
    for window in windows:
        for one in window.signals:
            if one.p_value is not None:
                found.setdefault(one.name, []).append(one.p_value)
    return {name: round(float(np.mean(np.array(p) <= 0.01)), 4) for name, p in found.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
