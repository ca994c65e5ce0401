"""train: train the trainable half on what featurize kept, and save the whole classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.shards import contents_of, rows_of
from cracks.images.batches import decoded_batches
from cracks.images.decode import decode_stored
from cracks.inference.runtime.cached_network import CachedNetwork, identity_of
from cracks.inference.runtime.openvino_runtime import KERAS, joined
from cracks.system.atomic_files import atomic_replace, remove, write_text
from cracks.training.features.arrays import split_features
from cracks.training.figures import draw_augmentation, draw_layers, draw_learning_curves
from cracks.training.networks.architectures import build_classifier, with_features
from cracks.training.networks.augmentation import augmented
from cracks.training.networks.devices import choose_devices
from cracks.training.networks.fit import Examples, score, write_tensorboard
from cracks.training.networks.halves import store_half
from cracks.training.networks.keras_files import layers_of, load_model, save_model, summary_of
from cracks.training.networks.keras_network import KerasNetwork
from cracks.training.networks.learner import Learner, learning_key
from cracks.training.networks.reproducibility import make_reproducible
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import Report
from cracks.workspace.tables import read_table, write_csv, write_table

#: Rows of features that show the runtime's quantisation how large numbers become.
EXAMPLES = 300

#: Patches that Keras gets at once.
ASKED = 16


def train(params: Params, paths: Paths) -> Report:
    """Train until the validation loss no longer falls; the same inputs give the same weights.

    A training that was killed goes on where it was after its last whole epoch.

    Raises:
        ParamsError: a GPU is asked for where there is none, or a layer that does not exist.
        DataError: a split lacks a label, or features are not finite.
    """
    devices = choose_devices(params.train.device)
    make_reproducible(params.train.seed)
    manifest, splits = read_table(paths.manifest), read_table(paths.splits)
    learned, watched = (
        split_features(paths.features, manifest, splits, split) for split in ("train", "validation")
    )
    learner = Learner(
        params,
        devices,
        Examples.of(learned),
        Examples.of(watched),
        paths.checkpoints,
        learning_key(params, paths.splits, paths.features),
    )
    trainable, history = learner.learn()
    featurizer = load_model(paths.featurizer / KERAS)
    with atomic_replace(paths.trainable) as folder:
        shown = learned.features.take(_evenly(len(learned.ids), EXAMPLES)).astype(np.float32)
        agreement = store_half(with_features(trainable), folder, params.featurize.precision, shown)
    classifier = build_classifier(featurizer, trainable)
    save_model(classifier, paths.classifier)
    _ask_keras(featurizer, trainable, params, paths, manifest, splits)
    write_csv(history, paths.history)
    write_text(paths.summary, summary_of(classifier))
    with atomic_replace(paths.training_logs) as logs:
        write_tensorboard(history, logs)
    with atomic_replace(paths.figures("train")) as figures:
        draw_learning_curves(history, figures)
        draw_layers(layers_of(featurizer), layers_of(trainable), figures)
        if params.mode != "probe":
            draw_augmentation(manifest, paths.images, params, augmented, figures)
    remove(paths.checkpoints)
    best = min(history, key=lambda row: row["val_loss"])
    return {
        "architecture": params.featurize.architecture,
        "mode": params.mode,
        "device": devices.description,
        "parameters": classifier.count_params(),
        "trained_parameters": sum(int(np.prod(w.shape)) for w in trainable.trainable_weights),
        "patches": {"train": len(learned.ids), "validation": len(watched.ids)},
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best": {name: value for name, value in best.items() if name != "epoch"},
        "agreement_with_keras": agreement,
    }


def _ask_keras(
    featurizer: Any,
    trainable: Any,
    params: Params,
    paths: Paths,
    manifest: pa.Table,
    splits: pa.Table,
) -> None:
    """Write what Keras answers for some patches of test, which export compares the bundle with.

    Here, where TensorFlow is loaded: they decide nothing.
    """
    ids = splits.filter(pc.equal(splits["split"], "test"))["id"].to_pylist()
    picked = [ids[i] for i in _evenly(len(ids), params.export.compared_patches)]
    contents = contents_of(rows_of(picked, manifest), paths.images)
    patches = decoded_batches(contents, params.ingest.patch_size, ASKED, decode=decode_stored)
    keras = KerasNetwork(featurizer)
    frozen = CachedNetwork(
        lambda: keras,
        identity_of(paths.featurizer, params.featurize.precision),
        paths.keras_features,
    )
    # Pixels are many, and made in no time.
    asked = frozen if params.mode == "probe" else keras
    given = joined(asked.stream(patches))["features"]
    frozen.save()
    answers = {"id": picked, "raw_score": score(trainable, given)}
    write_table(pa.table(answers), paths.keras_scores)


def _evenly(count: int, at_most: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, at_most)})
