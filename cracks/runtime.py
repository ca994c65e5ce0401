"""Run a network in OpenVINO, the one runtime that training and serving share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.errors import BundleError
from cracks.images import Pixels


class Network:
    """A compiled network from uint8 pixels (n, size, size, 3) to float32 rows."""

    def __init__(self, model: Path) -> None:
        """Compile the IR at `model` for the CPU.

        Raises:
            BundleError: the file is missing or no network.
        """
        import openvino

        # Without the hint OpenVINO computes in bfloat16 where the CPU can, and scores drift.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise BundleError(f"{model} is no network that OpenVINO can load: {error}") from None

    def run(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Return the rows of one batch."""
        return np.array(self._compiled(pixels)[0])

    def run_all(self, batches: Iterable[Pixels]) -> list[npt.NDArray[np.float32]]:
        """Return the rows of each batch, in order; reading the next batch overlaps with computing."""
        import openvino

        results: dict[int, npt.NDArray[np.float32]] = {}

        def keep(request: Any, position: int) -> None:
            results[position] = np.array(request.get_output_tensor(0).data)

        queue = openvino.AsyncInferQueue(self._compiled)
        queue.set_callback(keep)
        for position, batch in enumerate(batches):
            queue.start_async({0: batch}, position)
        queue.wait_all()
        return [results[position] for position in range(len(results))]
