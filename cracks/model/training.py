"""Train the trainable half on cached features, the same way every time."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cracks.params import AugmentParams, TrainParams
from cracks.terminal import terminal

Features = npt.NDArray[Any]


@dataclass(frozen=True)
class Examples:
    """Features (n, …) and labels, float32 (n,), 1 for a crack."""

    features: Features
    labels: npt.NDArray[np.float32]


def fit(
    model: keras.Model,
    train: Examples,
    validation: Examples,
    params: TrainParams,
    augment: AugmentParams | None,
    logs: Path,
) -> list[dict[str, float]]:
    """Train `model` in place until the validation loss no longer falls; keep its best weights.

    Args:
        model: features to scores.
        train: what it learns from.
        validation: what early stopping looks at.
        params: the section `train` of params.yaml.
        augment: how training patches are varied, or None to take them as they are.
        logs: folder for TensorBoard.

    Returns:
        One row an epoch: epoch (from 1), loss, accuracy, val_loss, val_accuracy.
    """
    steps = -(-len(train.labels) // params.batch_size) * params.epochs
    # The rate falls along a cosine to zero (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5).
    rate = keras.optimizers.schedules.CosineDecay(params.learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(rate),
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
    )
    with terminal() as screen:
        history = model.fit(
            batches(train, params, augment),
            validation_data=batches(validation, params),
            epochs=params.epochs,
            verbose=0,
            shuffle=False,  # the data set shuffles itself
            callbacks=[
                keras.callbacks.EarlyStopping(
                    "val_loss", patience=params.patience, restore_best_weights=True
                ),
                keras.callbacks.TensorBoard(logs, write_graph=False),
                _Progress(params.epochs, screen),
            ],
        ).history
    return [
        {"epoch": float(epoch + 1)}
        | {name: float(values[epoch]) for name, values in history.items()}
        for epoch in range(len(history["loss"]))
    ]


def batches(
    examples: Examples, params: TrainParams, augment: AugmentParams | None = None
) -> tf.data.Dataset:
    """Return (features, labels) in batches, reshuffled each epoch and varied if `augment`."""
    with tf.device("CPU"):
        data = tf.data.Dataset.from_tensor_slices((examples.features, examples.labels))
    data = data.shuffle(len(examples.labels), seed=params.seed).batch(params.batch_size)
    if augment:
        seeds = tf.data.Dataset.random(seed=params.seed, rerandomize_each_iteration=True).batch(2)
        data = tf.data.Dataset.zip(data, seeds).map(
            lambda example, seed: (augmented(example[0], augment, seed), example[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    return data.prefetch(tf.data.AUTOTUNE)


def augmented(pixels: tf.Tensor, params: AugmentParams, seed: tf.Tensor) -> tf.Tensor:
    """Return a varied batch, float32 (n, size, size, 3) with values 0 to 255.

    Args:
        pixels: (n, size, size, 3), any number type, values 0 to 255.
        params: what may vary, and how far.
        seed: integer (2,); the same seed varies a batch the same way.
    """
    seeds = tf.random.split(tf.cast(seed, tf.int32), 5)
    pixels = tf.cast(pixels, tf.float32)
    shape = (tf.shape(pixels)[0], 1, 1, 1)
    if params.flip:
        pixels = tf.where(_coin(shape, seeds[0]), tf.reverse(pixels, [1]), pixels)
        pixels = tf.where(_coin(shape, seeds[1]), tf.reverse(pixels, [2]), pixels)
    if params.transpose:
        # With both flips this gives all eight ways to lay a square on itself.
        pixels = tf.where(_coin(shape, seeds[2]), tf.transpose(pixels, (0, 2, 1, 3)), pixels)
    shift = tf.random.stateless_uniform(shape, seeds[3], -1, 1) * 255 * params.brightness
    factor = 1 + tf.random.stateless_uniform(shape, seeds[4], -1, 1) * params.contrast
    mean = tf.reduce_mean(pixels, axis=(1, 2, 3), keepdims=True)
    return tf.clip_by_value((pixels - mean) * factor + mean + shift, 0, 255)


def _coin(shape: tuple[Any, ...], seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed) < 0.5


def score(model: keras.Model, features: Features, batch_size: int = 256) -> npt.NDArray[np.float64]:
    """Return the scores, float64 (n,), of a model from features or pixels to scores."""
    return np.asarray(model.predict(features, batch_size=batch_size, verbose=0), np.float64)[:, 0]


class _Progress(keras.callbacks.Callback):
    """One line an epoch, overwritten on a terminal."""

    def __init__(self, epochs: int, screen: TextIO | None) -> None:
        super().__init__()
        self._epochs, self._screen = epochs, screen

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        line = (
            f"  epoch {epoch + 1:>3} of at most {self._epochs}: "
            f"loss {logs['loss']:.4f}, validation loss {logs['val_loss']:.4f}, "
            f"validation accuracy {logs['val_accuracy']:.4f}"
        )
        end = "\r" if self._screen else "\n"
        print(line, end=end, file=self._screen or sys.stderr, flush=True)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        if self._screen:
            print(file=self._screen)
