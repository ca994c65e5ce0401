"""Vary patches at random while training, the same way for the same seed."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cracks.workspace.params import AugmentParams


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
