"""Make what the networks compute repeatable: the same inputs give the same numbers."""

from __future__ import annotations

import keras
import tensorflow as tf


def make_reproducible(seed: int) -> None:
    """Fix every seed and the order of floating-point sums, so that a training can be repeated."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
