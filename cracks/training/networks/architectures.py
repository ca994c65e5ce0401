"""The architectures: each a backbone from pixels to features, with weights or without.

Three parts in a row make a classifier, from raw uint8 pixels to one score, so that no caller ever
preprocesses: resizing, a backbone, and a head that is the same for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
from keras import layers

from cracks.errors import ParamsError, WeightsError, one_line
from cracks.workspace.params import IMAGENET, NO_WEIGHTS, FeaturizeParams

#: Names of the part that ends every network, and of its layer that gives the score.
HEAD: Final = "head"
SCORE: Final = "score"


@dataclass(frozen=True)
class Architecture:
    """How to build a backbone: float32 pixels (n, size, size, 3), 0 to 255, to (n, channels)."""

    build: Callable[..., keras.Model]  # takes the image size, and `imagenet` if Keras has weights
    downloads: str = ""  # what Keras calls the files that it keeps of a download
    from_layer: str = ""  # where fine-tuning begins unless told otherwise


def build_backbone(params: FeaturizeParams) -> keras.Model:
    """Return the backbone with the weights that `featurize.weights` names.

    Raises:
        WeightsError: the weights are missing, damaged, or those of another architecture.
    """
    architecture = ARCHITECTURES[params.architecture]
    if params.weights == NO_WEIGHTS:
        return architecture.build(params.image_size)
    file = Path(params.weights).expanduser()
    if params.weights != IMAGENET and not file.is_file():
        raise WeightsError(
            f"featurize.weights: there is no file {params.weights}. Give a file of Keras weights "
            f"of {params.architecture} without its top, or `imagenet`."
        )
    try:
        if params.weights == IMAGENET:
            return architecture.build(params.image_size, IMAGENET)
        backbone = architecture.build(params.image_size)
        _network_in(backbone).load_weights(file)
    except Exception as error:  # Keras, h5py and urllib raise many kinds, bare Exception too
        if params.weights == IMAGENET:
            _remove_download(architecture.downloads)
        reason = one_line(error)[:200]
        raise WeightsError(
            f"featurize.weights: {params.weights} cannot be loaded into {params.architecture}: "
            f"{reason}. Check that the file is whole and of this architecture, and the network for "
            "`imagenet`."
        ) from error
    return backbone


def build_resizing(patch_size: int, image_size: int) -> keras.Model:
    """Return uint8 (n, patch_size, patch_size, 3) to pixels, float32 of `image_size`, 0 to 255."""
    pixels, resized = _resized(patch_size, image_size)
    return keras.Model(pixels, resized, name="featurizer")


def build_frozen(backbone: keras.Model, patch_size: int, image_size: int) -> keras.Model:
    """Return uint8 (n, patch_size, patch_size, 3) to the features of a backbone that stays."""
    backbone.trainable = False
    pixels, resized = _resized(patch_size, image_size)
    return keras.Model(pixels, backbone(resized, training=False), name="featurizer")


def build_head(channels: int, dropout: float) -> keras.Model:
    """Return a logistic regression: features (n, channels) to scores, float32 (n, 1) in [0, 1]."""
    features = keras.Input((channels,), name="features")
    kept = layers.Dropout(dropout, name="dropout")(features)
    # float32 also where the rest computes in half precision: a score needs its digits.
    score = layers.Dense(1, activation="sigmoid", dtype="float32", name=SCORE)(kept)
    return keras.Model(features, score, name=HEAD)


def build_whole(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Return backbone and head in a row, from pixels that `build_resizing` gave to scores."""
    pixels = keras.Input(backbone.input_shape[1:], name="pixels")
    return keras.Model(pixels, head(backbone(pixels)), name="trainable")


def with_features(trainable: keras.Model) -> keras.Model:
    """Return the trained half with two outputs: `score` (n, 1) and `features` (n, channels)."""
    given = keras.Input(trainable.input_shape[1:], name="given")
    if trainable.name == HEAD:
        features = keras.layers.Identity(name="features")(given)
        return keras.Model(given, {"score": trainable(given), "features": features})
    backbone, head = trainable.layers[1], trainable.get_layer(HEAD)
    features = backbone(given, training=False)
    return keras.Model(given, {"score": head(features, training=False), "features": features})


def build_classifier(featurizer: keras.Model, trainable: keras.Model) -> keras.Model:
    """Return both halves in a row: uint8 pixels to what the half that is trained gives."""
    pixels = keras.Input(featurizer.input_shape[1:], dtype="uint8", name="image")
    return keras.Model(pixels, trainable(featurizer(pixels)), name="classifier")


def unfreeze(backbone: keras.Model, architecture: str, from_layer: str) -> int:
    """Let `backbone` learn from a layer on, and return how many layers that are.

    Batch normalisation keeps the statistics it has, and its scale: those of a few small batches
    would spoil what was learned (Keras guide "Transfer learning & fine-tuning"). `from_layer` is
    the name of a layer, or `auto`.

    Raises:
        ParamsError: it has no layer of that name.
    """
    name = ARCHITECTURES[architecture].from_layer if from_layer == "auto" else from_layer
    network = _network_in(backbone)
    names = [layer.name for layer in network.layers]
    if name not in names:
        raise ParamsError(
            f"train.finetune.from_layer: {architecture} has no layer {name!r}. Write auto, or one "
            f"of its {len(names)} layers, as {names[len(names) // 2]!r}."
        )
    first = names.index(name)
    backbone.trainable = True
    for number, layer in enumerate(network.layers):
        # Its statistics stay only if it is frozen: Keras overrides `training` of an inner model.
        if number < first or isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    return len(names) - first


def _network_in(backbone: keras.Model) -> keras.Model:
    """Return the network of Keras' own in a backbone that also scales its input, or itself."""
    inner = [layer for layer in backbone.layers if isinstance(layer, keras.Model)]
    return inner[0] if inner else backbone


def _resized(patch_size: int, image_size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    pixels = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="image")
    # `cast` and not a Rescaling by 1: OpenVINO takes a tenth of the whole time for that.
    floats = keras.ops.cast(pixels, "float32")
    return pixels, layers.Resizing(image_size, image_size, name="resize")(floats)


def _remove_download(pattern: str) -> None:
    """Remove Keras' cache of a download that is damaged: it would be used again."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    for file in (home / "models").glob(pattern):
        file.unlink()


def _mobilenetv2(size: int, weights: str | None = None) -> keras.Model:
    network = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), include_top=False, weights=weights, pooling="avg"
    )
    pixels = keras.Input((size, size, 3), name="pixels")
    # The two others scale their input themselves.
    scaled = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    return keras.Model(pixels, network(scaled), name="backbone")


def _mobilenetv3small(size: int, weights: str | None = None) -> keras.Model:
    return keras.applications.MobileNetV3Small(
        input_shape=(size, size, 3),
        include_top=False,
        weights=weights,
        pooling="avg",
        name="backbone",
    )


def _efficientnetv2b0(size: int, weights: str | None = None) -> keras.Model:
    # It takes its own name for the key of a table, so it keeps it.
    return keras.applications.EfficientNetV2B0(
        input_shape=(size, size, 3), include_top=False, weights=weights, pooling="avg"
    )


def _cnn(size: int) -> keras.Model:
    """Return the notebooks' network of three blocks, made small enough for two cores.

    The first block strides over pixels, and a global maximum takes the place of their dense layer:
    a crack anywhere in the patch counts, wherever it lies.
    """
    pixels = keras.Input((size, size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    blocks = ((16, 5, 2), (32, 3, 1), (64, 3, 1))
    for block, (filters, kernel, stride) in enumerate(blocks, start=1):
        x = layers.Conv2D(filters, kernel, stride, padding="same", name=f"conv{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling2D(name=f"pool{block}")(x)
    pooled = layers.GlobalMaxPooling2D(name="global_pool")(x)
    return keras.Model(pixels, pooled, name="backbone")


ARCHITECTURES: Final = {
    "cnn": Architecture(_cnn),
    "mobilenetv2": Architecture(_mobilenetv2, "mobilenet_v2_weights_*", "block_11_expand"),
    "mobilenetv3small": Architecture(
        _mobilenetv3small, "weights_mobilenet_v3_*", "expanded_conv_8_expand"
    ),
    "efficientnetv2b0": Architecture(
        _efficientnetv2b0, "efficientnetv2-b0*", "block6a_expand_conv"
    ),
}
