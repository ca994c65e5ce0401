"""The architectures: a featurizer that is computed once, and the part that is trained on it.

A classifier is both in a row, from raw uint8 pixels to one score, so no caller ever preprocesses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
from keras import layers

from cracks.errors import WeightsError
from cracks.params import FeaturizeParams

#: `featurize.weights` that are no file.
NO_WEIGHTS: Final = "none"
IMAGENET: Final = "imagenet"
NAMED_WEIGHTS: Final = (NO_WEIGHTS, IMAGENET)


@dataclass(frozen=True)
class Architecture:
    """How to build the two halves of a network."""

    featurizer: Callable[[FeaturizeParams, int], keras.Model]
    trainable: Callable[[int, float], keras.Model]
    augmentable: bool  # whether the trainable part sees pixels


def build_featurizer(params: FeaturizeParams, patch_size: int) -> keras.Model:
    """Return the frozen half: uint8 (n, patch_size, patch_size, 3) to features.

    The features are float32 (n, channels) of a frozen backbone, or, where the whole network is
    trained, the resized pixels as float32 (n, image_size, image_size, 3) with values 0 to 255.

    Raises:
        WeightsError: the weights are missing, damaged, or those of another architecture.
    """
    return ARCHITECTURES[params.architecture].featurizer(params, patch_size)


def build_trainable(params: FeaturizeParams, dropout: float) -> keras.Model:
    """Return the half that is trained: features to scores, float32 (n, 1) in [0, 1]."""
    return ARCHITECTURES[params.architecture].trainable(params.image_size, dropout)


def build_classifier(featurizer: keras.Model, trainable: keras.Model) -> keras.Model:
    """Return both halves in a row: uint8 pixels to scores."""
    pixels = keras.Input(featurizer.input_shape[1:], dtype="uint8", name="image")
    return keras.Model(pixels, trainable(featurizer(pixels)), name="classifier")


def trainable_of(classifier: keras.Model) -> keras.Model:
    """Return the trained half of a classifier."""
    return classifier.get_layer("trainable")


def _resized(patch_size: int, image_size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    pixels = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="image")
    floats = layers.Rescaling(1.0, name="to_float")(pixels)
    return pixels, layers.Resizing(image_size, image_size, name="resize")(floats)


def _pixel_featurizer(params: FeaturizeParams, patch_size: int) -> keras.Model:
    if params.weights != NO_WEIGHTS:
        raise WeightsError(
            f"featurize.weights: the architecture {params.architecture} is trained from scratch "
            f"and takes no weights, not {params.weights!r}. Write `weights: none`."
        )
    pixels, resized = _resized(patch_size, params.image_size)
    # Whole grey values, so that the cached features can be kept as uint8 without a difference.
    return keras.Model(pixels, keras.ops.round(resized), name="featurizer")


def _mobilenetv2_featurizer(params: FeaturizeParams, patch_size: int) -> keras.Model:
    pixels, resized = _resized(patch_size, params.image_size)
    scaled = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(resized)
    backbone = _mobilenetv2(params)
    backbone.trainable = False
    return keras.Model(pixels, backbone(scaled), name="featurizer")


def _mobilenetv2(params: FeaturizeParams) -> keras.Model:
    weights, name = params.weights, params.architecture
    if weights == NO_WEIGHTS:
        raise WeightsError(
            f"featurize.weights: the backbone {name} stays frozen, and without weights there is "
            "nothing to learn from. Write `weights: imagenet`, or a file of weights."
        )
    file = Path(weights).expanduser()
    if weights != IMAGENET and not file.is_file():
        raise WeightsError(
            f"featurize.weights: there is no file {weights}. Give a file of Keras weights of "
            f"{name} without its top, or `imagenet`."
        )
    try:
        backbone = keras.applications.MobileNetV2(
            input_shape=(params.image_size, params.image_size, 3),
            include_top=False,
            weights=IMAGENET if weights == IMAGENET else None,
            pooling="avg",
        )
        if weights != IMAGENET:
            backbone.load_weights(file)
    except Exception as error:  # Keras, h5py and urllib raise many kinds, bare Exception too
        if weights == IMAGENET:
            _forget_download("mobilenet_v2_weights_*")
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"featurize.weights: {weights} cannot be loaded into {name}: {reason}. "
            "Check that the file is whole and of this architecture, and the network for `imagenet`."
        ) from error
    return backbone


def _forget_download(pattern: str) -> None:
    """Remove what Keras keeps of a download that proved useless: it would take it again."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    for file in (home / "models").glob(pattern):
        file.unlink()


def _probe(_: int, dropout: float) -> keras.Model:
    """Return a logistic regression on the 1,280 features of MobileNetV2."""
    features = keras.Input((1280,), name="features")
    kept = layers.Dropout(dropout, name="dropout")(features)
    score = layers.Dense(1, activation="sigmoid", name="score")(kept)
    return keras.Model(features, score, name="trainable")


def _cnn(image_size: int, dropout: float) -> keras.Model:
    """Return the notebooks' network of three blocks, made small enough for two cores.

    The first block strides over pixels, and a global maximum takes the place of their dense layer:
    a crack anywhere in the patch counts, wherever it lies.
    """
    features = keras.Input((image_size, image_size, 3), name="features")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(features)
    blocks = ((16, 5, 2), (32, 3, 1), (64, 3, 1))
    for block, (filters, kernel, stride) in enumerate(blocks, start=1):
        x = layers.Conv2D(filters, kernel, stride, padding="same", name=f"conv{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling2D(name=f"pool{block}")(x)
    x = layers.GlobalMaxPooling2D(name="global_pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    score = layers.Dense(1, activation="sigmoid", name="score")(x)
    return keras.Model(features, score, name="trainable")


ARCHITECTURES: Final = {
    "cnn": Architecture(_pixel_featurizer, _cnn, augmentable=True),
    "mobilenetv2": Architecture(_mobilenetv2_featurizer, _probe, augmentable=False),
}
