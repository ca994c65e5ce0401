"""export: turn the classifier into the bundle that serving loads, and prove that both agree."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cracks.dataset.shards import contents_of, rows_of
from cracks.images.decode import Pixels, decode_stored
from cracks.inference.bundle.bundle import (
    GOLDEN,
    NEIGHBOURS,
    NETWORK,
    NOVELTY,
    OTHER_NETWORKS,
    REFERENCE,
    content_of,
    seal_bundle,
)
from cracks.inference.bundle.calibration import Scores
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.bundle.golden_patches import GoldenPatches, choose_golden, write_golden
from cracks.inference.bundle.parity import check_parity
from cracks.inference.runtime.latency import time_single
from cracks.inference.runtime.onnx_litert import run_apart, time_other
from cracks.inference.runtime.openvino_runtime import KERAS, connected
from cracks.inference.runtime.openvino_runtime import NETWORK as HALF
from cracks.monitoring.drift.reference import reference_from, write_patches
from cracks.system.atomic_files import atomic_replace
from cracks.training.networks.startup import load_tensorflow
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_report
from cracks.workspace.stage_reports import EvaluateReport, ExportReport
from cracks.workspace.tables import read_table

#: Images in a batch of the other runtimes, and repetitions that a latency is the median of.
BATCH_SIZE, REPETITIONS = 4, 10


def export(params: Params, paths: Paths) -> ExportReport:
    """Put the two halves together, seal the bundle and check it.

    Raises:
        BundleError: its scores differ from the evaluated ones, or from those of Keras, by more
            than the limit.
    """
    evaluation, compared = read_report(paths.report("evaluate"), EvaluateReport), _compared(paths)
    contents, size = compared.contents, params.ingest.patch_size
    others = {name: OTHER_NETWORKS[name] for name in params.export.formats if name != "openvino"}
    with atomic_replace(paths.bundle) as folder:
        _fill(folder, compared, paths)
        _write_others(others, folder, paths)
        bundle = seal_bundle(folder, content_of(params, paths, evaluation))
        classifier = Classifier(bundle)
        raw = {"keras": compared.keras, "evaluation": compared.raw}
        raw["openvino"] = classifier.measure(contents).raw
        pixels = np.stack([decode_stored(content, size) for content in contents])
        raw |= {name: _score(folder / file, pixels) for name, file in others.items()}
        parity = check_parity(raw, bundle.content, params.export)
    latency = {"openvino": time_single(lambda: classifier.measure(contents[:1]), REPETITIONS)}
    for name, file in others.items():
        latency[name] = time_other(paths.bundle / file, pixels[:1], REPETITIONS)
    sizes = {file.name: file.stat().st_size for file in sorted(paths.bundle.iterdir())}
    return {
        "bundle_digest": bundle.digest,
        "precision": bundle.content.precision,
        "sizes": sizes,
        "parity": parity,
        "single_image": latency,
    }


def _compared(paths: Paths) -> GoldenPatches:
    """Return the patches that Keras has scored, with what evaluate had from the network."""
    by_keras, scores = read_table(paths.keras_scores), read_table(paths.scores)
    ids = by_keras["id"].to_pylist()
    contents = contents_of(rows_of(ids, read_table(paths.manifest)), paths.images)
    raw = dict(zip(scores["id"].to_pylist(), scores["raw_score"].to_pylist(), strict=True))
    evaluated = np.array([raw[id_] for id_ in ids])
    return GoldenPatches(contents, evaluated, by_keras["raw_score"].to_numpy())


def _fill(folder: Path, compared: GoldenPatches, paths: Paths) -> None:
    folder.mkdir()
    connected(paths.featurizer / HALF, paths.trainable / HALF, folder / NETWORK)
    shutil.copyfile(paths.novelty, folder / NOVELTY)
    shutil.copyfile(paths.neighbours, folder / NEIGHBOURS)
    golden = choose_golden(compared.contents, compared.raw, compared.keras)
    write_golden(golden, folder / GOLDEN)
    reference = reference_from(read_table(paths.scores), read_table(paths.splits))
    write_patches(reference, folder / REFERENCE)


def _write_others(files: Mapping[Any, str], folder: Path, paths: Paths) -> None:
    if not files:
        return
    # TensorFlow is loaded only where another format is asked for.
    load_tensorflow()
    from cracks.training.networks.conversion import write_formats

    places = {name: folder / file for name, file in files.items()}
    write_formats(paths.featurizer / KERAS, paths.trainable / KERAS, places)


def _score(model: Path, pixels: Pixels) -> Scores:
    return run_apart(model, pixels, BATCH_SIZE)["score"][:, 0].astype(np.float64)
