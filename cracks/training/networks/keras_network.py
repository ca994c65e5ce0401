"""Run a network in TensorFlow, where the runtime OpenVINO is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np

from cracks.inference.runtime.openvino_runtime import Batch, Outputs


class KerasNetwork:
    """A Keras model that answers as `cracks.inference.runtime.openvino_runtime.Network` does."""

    def __init__(self, model: keras.Model) -> None:
        """Let `model` answer."""
        self._model = model

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order."""
        for batch in batches:
            answer = self._model.predict_on_batch(batch)
            outputs = answer if isinstance(answer, dict) else {"features": answer}
            yield {name: np.asarray(rows, np.float32) for name, rows in outputs.items()}
