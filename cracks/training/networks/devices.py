"""What a training computes on: the CPU, or every GPU there is, in half precision where it can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

from cracks.errors import ParamsError

#: The first compute capability of NVIDIA whose tensor cores multiply in half precision (Volta).
HALF_PRECISION = (7, 0)


@dataclass(frozen=True)
class Devices:
    """Where a network is built and trained."""

    strategy: tf.distribute.Strategy
    policy: str  # Keras' policy of number types

    @property
    def description(self) -> str:
        """The name in reports."""
        replicas = self.strategy.num_replicas_in_sync
        return f"{replicas} × {self.policy}" if replicas > 1 else self.policy


def choose_devices(device: str) -> Devices:
    """Return what `train.device` names.

    Raises:
        ParamsError: a GPU is asked for where there is none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise ParamsError(
            "train.device: gpu is asked for, and TensorFlow finds none on this machine. Write "
            "train.device=auto, or install the CUDA build: pip install tensorflow[and-cuda]."
        )
    if device == "cpu" or not gpus:
        return Devices(tf.distribute.get_strategy(), "float32")
    names = [f"GPU:{number}" for number in range(len(gpus))]
    strategy = (
        tf.distribute.MirroredStrategy(names)
        if len(gpus) > 1
        else tf.distribute.OneDeviceStrategy("GPU:0")
    )
    return Devices(strategy, "mixed_float16" if all(map(_has_tensor_cores, gpus)) else "float32")


@contextmanager
def building_for(devices: Devices) -> Iterator[None]:
    """Let networks that are built in this block be trained on `devices`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(devices.policy)
    try:
        with devices.strategy.scope():
            yield
    finally:
        keras.config.set_dtype_policy(before)


def _has_tensor_cores(gpu: tf.config.PhysicalDevice) -> bool:
    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return tuple(capability) >= HALF_PRECISION
