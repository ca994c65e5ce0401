"""export: turn the classifier into the bundle that serving loads, and prove that both agree."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cracks.dataset.labels import LABELS
from cracks.dataset.shards import contents_of, rows_of
from cracks.images.decode import Pixels, decode_stored
from cracks.inference.bundle.bundle import (
    GOLDEN,
    NEIGHBOURS,
    NETWORK,
    NOVELTY,
    OTHER_NETWORKS,
    REFERENCE,
    Bundle,
    seal_bundle,
)
from cracks.inference.bundle.calibration import Calibration, Scores
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.bundle.golden_patches import choose_golden, write_golden
from cracks.inference.bundle.parity import parity, require_parity
from cracks.inference.runtime.latency import time_single
from cracks.inference.runtime.onnx_litert import RUNTIMES, run_apart
from cracks.inference.runtime.openvino_runtime import KERAS, connected
from cracks.inference.runtime.openvino_runtime import NETWORK as HALF
from cracks.monitoring.drift.reference import reference_from, write_reference
from cracks.system.atomic_files import atomic_replace
from cracks.system.hashing import digest_of_file
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import Report, flatten, read_report
from cracks.workspace.tables import read_table

#: Images in a batch of the other runtimes, and repetitions that a latency is the median of.
BATCH_SIZE, REPETITIONS = 4, 10


def export(params: Params, paths: Paths) -> Report:
    """Put the two halves together, seal the bundle and check it.

    Raises:
        BundleError: its scores differ from the evaluated ones, or from those of Keras, by more
            than the limit.
    """
    evaluation, answered = read_report(paths.report("evaluate")), read_table(paths.keras_scores)
    ids = answered["id"].to_pylist()
    contents = contents_of(rows_of(ids, read_table(paths.manifest)), paths.images)
    evaluated, by_keras = _evaluated(ids, paths), answered["raw_score"].to_numpy()
    others = [name for name in params.export.formats if name != "openvino"]
    with atomic_replace(paths.bundle) as folder:
        folder.mkdir()
        connected(paths.featurizer / HALF, paths.trainable / HALF, folder / NETWORK)
        shutil.copyfile(paths.novelty, folder / NOVELTY)
        shutil.copyfile(paths.neighbours, folder / NEIGHBOURS)
        write_golden(choose_golden(contents, evaluated, by_keras), folder / GOLDEN)
        scores, splits = read_table(paths.scores), read_table(paths.splits)
        write_reference(reference_from(scores, splits), folder / REFERENCE)
        if others:
            _write_other_networks(others, paths, folder)
        bundle = seal_bundle(folder, _content(params, paths, evaluation))
        classifier = Classifier(bundle)
        raw = {
            "keras": by_keras,
            "evaluation": evaluated,
            "openvino": classifier.measure(contents).raw,
        }
        if others:
            pixels = np.stack([decode_stored(one, params.ingest.patch_size) for one in contents])
            raw |= {name: _elsewhere(name, bundle, pixels) for name in others}
        found = _parity(raw, bundle, params)
    latency = {"openvino": time_single(lambda: classifier.measure(contents[:1]), REPETITIONS)}
    latency |= {name: _latency(name, paths, pixels[:1]) for name in others}
    return {
        "bundle_digest": bundle.digest,
        "precision": bundle.content.precision,
        "sizes": {file.name: file.stat().st_size for file in sorted(paths.bundle.iterdir())},
        "parity": found,
        "single_image": latency,
    }


def _write_other_networks(names: Sequence[str], paths: Paths, folder: Path) -> None:
    # TensorFlow is loaded only where another format is asked for.
    from cracks.training.networks.architectures import build_classifier
    from cracks.training.networks.conversion import write_litert, write_onnx
    from cracks.training.networks.keras_files import load_model

    halves = (load_model(half / KERAS) for half in (paths.featurizer, paths.trainable))
    answering, writers = build_classifier(*halves), {"onnx": write_onnx, "litert": write_litert}
    for name in names:
        writers[name](answering, folder / OTHER_NETWORKS[name])


def _evaluated(ids: Sequence[str], paths: Paths) -> Scores:
    """Return what evaluate had from the network for some patches, (n,)."""
    table = read_table(paths.scores)
    raw = dict(zip(table["id"].to_pylist(), table["raw_score"].to_pylist(), strict=True))
    return np.array([raw[id_] for id_ in ids])


def _content(params: Params, paths: Paths, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    calibrated = evaluation["calibration"]["fitted"]
    return {
        "labels": LABELS,
        "patch_size": params.ingest.patch_size,
        "precision": params.featurize.precision,
        "calibration": Calibration.from_json(calibrated),
        "threshold": evaluation["threshold"],
        "architecture": params.featurize.architecture,
        "lineage": _lineage(paths),
        "metrics": flatten({"test": evaluation["test"]}),
    }


def _lineage(paths: Paths) -> dict[str, str]:
    ingested = read_report(paths.report("ingest"))
    return {
        "source": ingested["source"],
        "source_digest": ingested["source_digest"],
        "manifest_sha256": digest_of_file(paths.manifest),
        "splits_sha256": digest_of_file(paths.splits),
    }


def _parity(raw: Mapping[str, Scores], bundle: Bundle, params: Params) -> dict[str, Any]:
    """Return how far each runtime is from Keras, and the bundle from the evaluation, or refuse."""
    content, limits = bundle.content, params.export
    pairs = {name: (scores, raw["keras"]) for name, scores in raw.items() if name != "keras"}
    pairs["evaluation"] = (raw["evaluation"], raw["openvino"])
    # Only the bundle's own network is quantised; what was evaluated is that very network.
    precision = dict.fromkeys(pairs, "f32") | {"openvino": content.precision}
    found = {}
    for name, (scores, expected) in pairs.items():
        found[name] = parity(scores, expected, content.calibration, content.threshold)
        require_parity(name, found[name], limits, precision[name])
    return found


def _elsewhere(name: str, bundle: Bundle, pixels: Pixels) -> Scores:
    outputs = run_apart(bundle.folder / OTHER_NETWORKS[name], pixels, BATCH_SIZE)
    return outputs["score"][:, 0].astype(np.float64)


def _latency(name: str, paths: Paths, image: Pixels) -> dict[str, float]:
    file = paths.bundle / OTHER_NETWORKS[name]
    network = RUNTIMES[file.suffix][1](file)
    return time_single(lambda: network.run_all([image]), REPETITIONS)
