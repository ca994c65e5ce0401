"""Run a network in TensorFlow, where the runtime OpenVINO is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cracks.model.storage import load_model
from cracks.runtime import Batch, Outputs


class KerasNetwork:
    """A Keras model that answers as `cracks.runtime.Network` does."""

    def __init__(self, model: Path) -> None:
        """Load the model.

        Raises:
            WorkspaceError: there is none, or it is damaged.
        """
        self._model = load_model(model)

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order."""
        for batch in batches:
            answer = self._model.predict_on_batch(batch)
            outputs = answer if isinstance(answer, dict) else {"features": answer}
            yield {name: np.asarray(rows, np.float32) for name, rows in outputs.items()}
