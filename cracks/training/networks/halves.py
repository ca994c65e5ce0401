"""Store a half of the classifier for Keras and for the runtime, and prove that both agree."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from cracks.errors import BundleError
from cracks.inference.runtime.openvino_runtime import (
    KERAS,
    NETWORK,
    Batch,
    Outputs,
    joined,
    open_network,
)
from cracks.training.networks.keras_files import convert_model, save_model

#: Examples that go through Keras, which is slow, and how many at a time.
COMPARED, BATCH_SIZE = 8, 8

#: Largest difference in f32, as a share of the largest number: what rounding makes, not more.
TOLERANCE = 1e-3


def store_half(
    half: keras.Model, folder: Path, precision: str, examples: Batch
) -> dict[str, float]:
    """Write `half` into the new folder `folder`, in Keras and as OpenVINO IR.

    Args:
        half: the half of the classifier that is computed once, or the one that is trained.
        folder: is made.
        precision: `int8` quantises it, if it holds convolutions.
        examples: (n, …) of what it takes; they tell the quantisation how large numbers become.

    Returns:
        How far it is from Keras on a few examples: compared, largest_difference, largest_number.

    Raises:
        BundleError: in f32 it is further than rounding explains.
    """
    folder.mkdir(parents=True)
    save_model(half, folder / KERAS)
    convert_model(half, folder / NETWORK)
    if precision == "int8" and _convolves(half):
        from cracks.inference.runtime.quantization import quantize

        batches = [examples[i : i + BATCH_SIZE] for i in range(0, len(examples), BATCH_SIZE)]
        quantize(folder / NETWORK, folder / NETWORK, batches)
    return _agreement(half, folder, precision, examples[:COMPARED])


def _agreement(
    half: keras.Model, folder: Path, precision: str, examples: Batch
) -> dict[str, float]:
    expected = half(examples, training=False)
    named = expected if isinstance(expected, dict) else {"features": expected}
    given: Outputs = joined(open_network(folder, precision).stream([examples]))
    difference = max(float(np.abs(given[name] - rows).max()) for name, rows in named.items())
    largest = max(float(np.abs(rows).max()) for rows in named.values())
    if precision == "f32" and difference > TOLERANCE * max(largest, 1):
        raise BundleError(
            f"OpenVINO computes {folder.name.removesuffix('.partial').strip('.')} differently from "
            f"Keras, by up to {difference:.2g} where the largest number is {largest:.2g}. Nothing "
            "was written; please report it with params.yaml."
        )
    return {
        "compared": len(examples),
        "largest_difference": difference,
        "largest_number": largest,
    }


def _convolves(half: keras.Model) -> bool:
    return any("Conv" in type(layer).__name__ for layer in half._flatten_layers())
