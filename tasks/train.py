"""train: train the trainable half on what featurize kept, and save the whole classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from cracks.inference.runtime.openvino_runtime import KERAS
from cracks.system.atomic_files import atomic_replace, remove, write_text
from cracks.training.features.arrays import SplitFeatures, split_features
from cracks.training.figures import draw_augmentation, draw_layers, draw_learning_curves
from cracks.training.networks.architectures import build_classifier, with_features
from cracks.training.networks.augmentation import augmented
from cracks.training.networks.devices import choose_devices
from cracks.training.networks.fit import Examples, write_tensorboard
from cracks.training.networks.halves import store_half
from cracks.training.networks.keras_files import layers_of, load_model, save_model, summary_of
from cracks.training.networks.keras_network import evenly, keras_scores
from cracks.training.networks.learner import Learner, learning_key, training_report
from cracks.training.networks.reproducibility import make_reproducible
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import TrainReport
from cracks.workspace.tables import read_table, write_csv, write_table

#: Rows of features that show the runtime's quantisation how large numbers become.
EXAMPLES = 300


def train(params: Params, paths: Paths) -> TrainReport:
    """Train until the validation loss no longer falls; the same inputs give the same weights.

    A training that was killed resumes after its last whole epoch.

    Raises:
        ParamsError: a GPU is asked for where there is none, or a layer that does not exist.
        DataError: a split lacks a label, or features are not finite.
    """
    devices = choose_devices(params.train.device)
    make_reproducible(params.train.seed)
    learned, watched = _splits(paths)
    key = learning_key(params, paths.splits, paths.features)
    examples = Examples.of(learned), Examples.of(watched)
    trainable, history = Learner(params, devices, *examples, paths.checkpoints, key).learn()
    featurizer = load_model(paths.featurizer / KERAS)
    shown = learned.features.take(evenly(len(learned.ids), EXAMPLES)).astype(np.float32)
    with atomic_replace(paths.trainable) as folder:
        agreement = store_half(with_features(trainable), folder, params.featurize.precision, shown)
    classifier = build_classifier(featurizer, trainable)
    save_model(classifier, paths.classifier)
    scores = keras_scores(featurizer, trainable, params, paths, paths.keras_features)
    write_table(scores, paths.keras_scores)
    _write_history(history, summary_of(classifier), paths)
    _draw(params, paths, history, featurizer, trainable)
    remove(paths.checkpoints)
    patches = {"train": len(learned.ids), "validation": len(watched.ids)}
    report = training_report(params, devices, classifier, trainable, history)
    return {**report, "patches": patches, "agreement_with_keras": agreement}


def _splits(paths: Paths) -> tuple[SplitFeatures, SplitFeatures]:
    tables = read_table(paths.manifest), read_table(paths.splits)
    learned = split_features(paths.features, *tables, "train")
    return learned, split_features(paths.features, *tables, "validation")


def _write_history(history: list[dict[str, float]], summary: str, paths: Paths) -> None:
    write_csv(history, paths.history)
    write_text(paths.summary, summary)
    with atomic_replace(paths.training_logs) as logs:
        write_tensorboard(history, logs)


def _draw(params: Params, paths: Paths, history: Any, featurizer: Any, trainable: Any) -> None:
    with atomic_replace(paths.figures("train")) as figures:
        draw_learning_curves(history, figures)
        draw_layers(layers_of(featurizer), layers_of(trainable), figures)
        if params.mode != "probe":
            manifest = read_table(paths.manifest)
            draw_augmentation(manifest, paths.images, params, augmented, figures)
