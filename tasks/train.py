"""train: train the trainable half on cached features and save the whole classifier."""

from __future__ import annotations

import numpy as np

from cracks.features import SplitFeatures, split_features
from cracks.figures.training import draw_augmentation, draw_layers, draw_learning_curves
from cracks.model.architectures import ARCHITECTURES, build_classifier, build_trainable
from cracks.model.reproducibility import make_reproducible
from cracks.model.storage import layers_of, load_model, save_model, summary_of
from cracks.model.training import Examples, augmented, fit
from cracks.outputs import replacing, write_text
from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report
from cracks.tables import read_table, write_csv


def train(params: Params, paths: Paths) -> Report:
    """Train until the validation loss no longer falls; the same inputs give the same weights."""
    make_reproducible(params.train.seed)
    manifest, splits = read_table(paths.manifest), read_table(paths.splits)
    learned, watched = (
        split_features(paths.features, manifest, splits, split) for split in ("train", "validation")
    )
    trainable = build_trainable(params.featurize, params.train.dropout)
    augment = params.train.augment if _sees_pixels(params) else None
    with replacing(paths.training_logs) as logs:
        history = fit(
            trainable, _examples(learned), _examples(watched), params.train, augment, logs
        )
    classifier = build_classifier(load_model(paths.featurizer), trainable)
    save_model(classifier, paths.classifier)
    write_csv(history, paths.history)
    write_text(paths.summary, summary_of(classifier))
    with replacing(paths.figures("train")) as figures:
        draw_learning_curves(history, figures)
        draw_layers(layers_of(classifier.get_layer("featurizer")), layers_of(trainable), figures)
        draw_augmentation(
            manifest, paths.images, params, augmented, figures, applied=augment is not None
        )
    best = min(history, key=lambda row: row["val_loss"])
    return {
        "architecture": params.featurize.architecture,
        "parameters": classifier.count_params(),
        "trained_parameters": sum(int(np.prod(w.shape)) for w in trainable.trainable_weights),
        "patches": {"train": len(learned.ids), "validation": len(watched.ids)},
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best": {name: value for name, value in best.items() if name != "epoch"},
    }


def _sees_pixels(params: Params) -> bool:
    return ARCHITECTURES[params.featurize.architecture].augmentable


def _examples(split: SplitFeatures) -> Examples:
    return Examples(split.features, split.cracked.astype(np.float32))
