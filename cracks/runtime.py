"""Run a network in OpenVINO, the one runtime that training and serving share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cracks.errors import BundleError
from cracks.images import Pixels

if TYPE_CHECKING:
    from openvino import InferRequest


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

    def run_all(self, batches: Iterable[Pixels]) -> list[npt.NDArray[np.float32]]:
        """Return the rows of each batch, in order; reading the next batch overlaps with computing.

        No Python callback is used (as `AsyncInferQueue` does): when the network is freed, OpenVINO
        joins its threads with Python's lock held, and a thread on its way out of a callback wants
        that lock, so the process would now and then hang for ever.
        """
        count = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        idle = [self._compiled.create_infer_request() for _ in range(count)]
        running: deque[InferRequest] = deque()
        rows: list[npt.NDArray[np.float32]] = []

        def finish_oldest() -> None:
            request = running.popleft()
            request.wait()
            rows.append(np.array(request.get_output_tensor(0).data))
            idle.append(request)

        for batch in batches:
            if not idle:
                finish_oldest()
            request = idle.pop()
            request.start_async({0: batch})
            running.append(request)
        while running:
            finish_oldest()
        return rows
