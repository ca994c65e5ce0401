"""The notebooks' recipe in plain TensorFlow; run by its path, it prints what a step takes.

MobileNetV2 at 160 pixels with a frozen backbone, `image_dataset_from_directory` over loose files in
batches of 32, augmentation in the model. A stated number of steps is run, not the whole training.
It uses nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()  # before TensorFlow is imported: the notebooks wait for that, too

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

SIZE, BATCH_SIZE, SEED = 160, 32, 123

#: Share of the photographs that each epoch ends with, unseen by the training.
VALIDATION = 0.2

#: Steps before the clock counts: TensorFlow traces its graph in the first one.
WARM_UP = 5


class Stopwatch(keras.callbacks.Callback):
    """The time at the end of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    on_test_batch_end = on_train_batch_end

    def seconds_a_step(self) -> list[float]:
        """Return what each step took after those that warm up."""
        counted = self.ends[WARM_UP - 1 :]
        return [after - before for before, after in pairwise(counted)]


def photographs(folder: Path, subset: str) -> tf.data.Dataset:
    """Return (pixels, label) in batches, read from loose files again in every epoch."""
    return keras.utils.image_dataset_from_directory(
        folder,
        validation_split=VALIDATION,
        subset=subset,
        seed=SEED,
        image_size=(SIZE, SIZE),
        batch_size=BATCH_SIZE,
        verbose=False,
    ).prefetch(tf.data.AUTOTUNE)


def classifier(weights: str) -> keras.Model:
    """Return the notebooks' model, compiled."""
    backbone = keras.applications.MobileNetV2((SIZE, SIZE, 3), include_top=False, weights=None)
    backbone.load_weights(weights)
    backbone.trainable = False
    image = keras.Input((SIZE, SIZE, 3))
    varied = keras.layers.RandomRotation(0.2)(keras.layers.RandomFlip("horizontal")(image))
    features = backbone(keras.applications.mobilenet_v2.preprocess_input(varied), training=False)
    pooled = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(image, keras.layers.Dense(1)(pooled))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
    return model


def main(folder: str, weights: str, steps: int) -> None:
    """Run `steps` of training and half as many of validation; print what each took as JSON."""
    train, validation = (photographs(Path(folder), part) for part in ("training", "validation"))
    model = classifier(weights)
    start_seconds = time.perf_counter() - STARTED
    learning, watching = Stopwatch(), Stopwatch()
    # Repeated, so that few photographs are enough for the steps that are asked for.
    model.fit(train.repeat(), steps_per_epoch=WARM_UP + steps, callbacks=[learning], verbose=0)
    model.evaluate(validation.repeat(), steps=WARM_UP + steps // 2, callbacks=[watching], verbose=0)
    found = {
        "batch_size": BATCH_SIZE,
        "start_seconds": start_seconds,
        "steps_of_epoch": {"training": len(train), "validation": len(validation)},
        "seconds_a_step": {
            "training": learning.seconds_a_step(),
            "validation": watching.seconds_a_step(),
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
