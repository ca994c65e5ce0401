"""Train a network the same way every time, also when it was interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cracks.errors import ParamsError
from cracks.system.console import terminal
from cracks.training.features.arrays import FeatureRows, SplitFeatures
from cracks.training.networks.architectures import HEAD, SCORE
from cracks.training.networks.augmentation import augmented
from cracks.training.networks.checkpoints import Checkpoint, TrainingState
from cracks.workspace.params import AugmentParams

#: A label that does not occur has no share to divide by.
EDGE = 1e-9

#: Vectors that are watched at once: after each epoch a third of its time went to small batches.
VECTORS = 1024

#: Features (k, …), labels (k,) and weights (k,), as tensors, and what reads them at positions (k,).
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Reader = Callable[[tf.Tensor], Batch]


@dataclass(frozen=True)
class Examples:
    """What is learned from, or watched: features (n, …) and labels, float32 (n,), 1 for a crack."""

    features: FeatureRows
    labels: npt.NDArray[np.float32]

    @classmethod
    def of(cls, split: SplitFeatures) -> Examples:
        """Return the patches of a split."""
        features = split.features
        # Vectors are read once for all epochs; pixels are many, and read batch by batch.
        held = FeatureRows.of(features.all()) if len(features.shape) == 1 else features
        return cls(held, split.cracked.astype(np.float32))

    @property
    def crack_share(self) -> float:
        """Return the share of the patches that are cracked, in [0, 1]."""
        return float(self.labels.mean(dtype=np.float64))

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """Return what each patch counts in the loss, float32 (n,), 1 in the mean.

        Both labels count alike in sum: else cracks that are rare would hardly be learned.
        """
        share = self.crack_share
        halves = np.where(self.labels > 0, 0.5 / max(share, EDGE), 0.5 / max(1 - share, EDGE))
        return halves.astype(np.float32)


@dataclass(frozen=True)
class Plan:
    """How one network is trained."""

    name: str  # for the progress line
    seed: int
    epochs: int  # at most
    patience: int  # epochs without a lower validation loss
    batch_size: int
    learning_rate: float  # at the start
    augment: AugmentParams | None = None  # None takes the examples as they are


def fit(
    model: keras.Model, train: Examples, validation: Examples, plan: Plan, checkpoint: Checkpoint
) -> list[dict[str, float]]:
    """Train `model` in place until the validation loss no longer falls; keep its best weights.

    It goes from features to scores, and learns as if half of the patches were cracked (see
    `Examples.weights`); `restore_crack_share` takes that back. After each epoch everything that
    the next one depends on is saved, so that a killed training resumes and ends with the same
    weights as one that was not.

    Returns:
        One row an epoch: epoch (from 1), loss, accuracy, val_loss, val_accuracy; the losses count
        both labels alike.
    """
    steps = -(-len(train.labels) // plan.batch_size)
    are_vectors = len(train.features.shape) == 1
    # The rate falls along a cosine to zero (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5).
    rate = keras.optimizers.schedules.CosineDecay(plan.learning_rate, steps * plan.epochs)
    optimizer = keras.optimizers.Adam(rate)
    model.compile(
        optimizer,
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
        jit_compile=False,  # fifteen times slower on a CPU
        # A step on vectors is shorter than the way to it: a whole epoch is done in one call.
        steps_per_execution=steps if are_vectors else 1,
    )
    model.optimizer.build(model.trainable_variables)
    state = checkpoint.restore(model)
    if not state.finished:
        with terminal() as screen:
            model.fit(
                batches(train, plan, first_epoch=len(state.history)),
                steps_per_epoch=steps,
                initial_epoch=len(state.history),
                epochs=plan.epochs,
                validation_data=in_order(validation, VECTORS if are_vectors else plan.batch_size),
                verbose=0,
                shuffle=False,  # the data set shuffles itself
                callbacks=[_Repeatable(plan.seed), _Keeper(state, plan, checkpoint, screen)],
            )
    if not state.best:
        raise ParamsError(
            f"The validation loss was not finite in any epoch: train.learning_rate "
            f"{plan.learning_rate} is too high. Write a smaller one."
        )
    model.set_weights(state.best)
    return state.history


def restore_crack_share(model: keras.Model, crack_share: float) -> None:
    """Shift the scores of a trained `model`, in place, to what they mean where cracks are rarer.

    It learned as if half of the patches were cracked, so the logarithm of its odds is too high by
    that of how many times cracks were weighted up against clean patches: the prior correction
    of King & Zeng ("Logistic Regression in Rare Events Data", Political Analysis 9, 2001, 137–163).

    Args:
        model: a head, or a network that ends in one.
        crack_share: of the patches that it learned from, in (0, 1).
    """
    head = model if model.name == HEAD else model.get_layer(HEAD)
    kernel, bias = head.get_layer(SCORE).get_weights()
    odds = np.log(crack_share) - np.log1p(-crack_share)
    head.get_layer(SCORE).set_weights([kernel, (bias + odds).astype(np.float32)])


def batches(examples: Examples, plan: Plan, first_epoch: int = 0) -> tf.data.Dataset:
    """Return (features, labels, weights) in batches, epoch after epoch.

    The order and the variations of an epoch depend on the seed and its number alone.
    """
    count, taken = len(examples.labels), _reader(examples)

    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(plan.seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed)

        def batch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            first = number * plan.batch_size
            return epoch, number, order[first : first + plan.batch_size]

        # Batches are cut from the whole order: element by element it takes longer than to learn.
        return tf.data.Dataset.range(-(-count // plan.batch_size)).map(batch)

    def read(epoch: tf.Tensor, number: tf.Tensor, positions: tf.Tensor) -> Batch:
        features, labels, weights = taken(positions)
        if plan.augment:
            seed = tf.stack(
                [plan.seed + 2**20 * tf.cast(epoch, tf.int32), tf.cast(number, tf.int32)]
            )
            features = augmented(features, plan.augment, seed)
        return features, labels, weights

    epochs = tf.data.Dataset.range(first_epoch, plan.epochs).flat_map(of_epoch)
    read_ahead = epochs.map(read, num_parallel_calls=2, deterministic=True)
    return read_ahead.prefetch(tf.data.AUTOTUNE)


def in_order(examples: Examples, batch_size: int) -> tf.data.Dataset:
    """Return (features, labels, weights) in batches, once."""
    positions = tf.data.Dataset.range(len(examples.labels)).batch(batch_size)
    return positions.map(_reader(examples)).prefetch(tf.data.AUTOTUNE)


def _reader(examples: Examples) -> Reader:
    """Return what reads the examples at some positions: from memory, or pixels from the disk."""
    labels, weights = tf.constant(examples.labels), tf.constant(examples.weights)
    if len(examples.features.shape) == 1:
        table = tf.constant(examples.features.all())

        def features_at(positions: tf.Tensor) -> tf.Tensor:
            return tf.gather(table, positions)

    else:

        def take(some: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            return examples.features.take(some).astype(np.float32)

        def features_at(positions: tf.Tensor) -> tf.Tensor:
            features = tf.numpy_function(take, [positions], tf.float32)
            features.set_shape((None, *examples.features.shape))
            return features

    return lambda positions: (
        features_at(positions),
        tf.gather(labels, positions),
        tf.gather(weights, positions),
    )


class _Repeatable(keras.callbacks.Callback):
    """Let what dropout drops in an epoch depend on the seed and its number alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        for number, layer in enumerate(self.model._flatten_layers()):
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                layer.seed_generator.state.assign([self._seed + number, epoch * 2**20])


class _Keeper(keras.callbacks.Callback):
    """Save the best weights and the state after each epoch, show progress, stop early."""

    def __init__(
        self, state: TrainingState, plan: Plan, checkpoint: Checkpoint, screen: TextIO | None
    ) -> None:
        super().__init__()
        self._state, self._plan, self._checkpoint, self._screen = state, plan, checkpoint, screen
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._screen and batch % 10 == 9:
            loss = (logs or {}).get("loss", float("nan"))
            self._say(f"batch {batch + 1:,} of {self.params['steps']:,}, loss {loss:.4f}", "\r")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        state, row = self._state, {name: float(value) for name, value in (logs or {}).items()}
        state.history.append({"epoch": float(epoch + 1)} | row)
        if row["val_loss"] < state.best_loss:
            state.best_loss, state.worse = row["val_loss"], 0
            state.best = self.model.get_weights()
        else:
            state.worse += 1
        state.finished = epoch + 1 == self._plan.epochs or state.worse >= self._plan.patience
        self.model.stop_training = state.finished
        self._checkpoint.save(self.model, state)
        self._say(
            f"loss {row['loss']:.4f}, validation loss {row['val_loss']:.4f}, "
            f"validation accuracy {row['val_accuracy']:.4f}",
            "\r" if self._screen and not state.finished else "\n",
        )

    def _say(self, text: str, end: str) -> None:
        line = f"  {self._plan.name}, epoch {self._epoch:>3} of at most {self._plan.epochs}: {text}"
        print(f"{line:<110}", end=end, file=self._screen or sys.stderr, flush=True)


def score(
    model: keras.Model, given: npt.NDArray[Any], batch_size: int = 16
) -> npt.NDArray[np.float64]:
    """Return the scores, float64 (n,), of a model from features or pixels to scores."""
    return np.asarray(model.predict(given, batch_size=batch_size, verbose=0), np.float64)[:, 0]


def write_tensorboard(history: list[dict[str, float]], folder: Path) -> None:
    """Write the history for TensorBoard, with the names that Keras gives."""
    for run, prefix in (("train", ""), ("validation", "val_")):
        with tf.summary.create_file_writer(str(folder / run)).as_default():
            for row in history:
                for name in ("loss", "accuracy"):
                    tf.summary.scalar(f"epoch_{name}", row[prefix + name], int(row["epoch"]))
