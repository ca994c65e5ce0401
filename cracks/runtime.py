"""Run a network in OpenVINO, the one runtime that training and serving share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from cracks.errors import BundleError

if TYPE_CHECKING:
    from openvino import InferRequest

#: What a network takes: uint8 pixels (n, size, size, 3), or float32 features (n, …).
Batch = npt.NDArray[Any]
#: What it gives: float32 (n, …) for each of its outputs, by name.
Outputs = dict[str, npt.NDArray[np.float32]]

#: What OpenVINO calls the arithmetic of a precision; the weights of int8 say so themselves.
ARITHMETIC = {"f32": "f32", "bf16": "bf16", "int8": "f32"}


class Runs(Protocol):
    """Whatever answers for batches: this module's network, or Keras in its place."""

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order."""


class Network:
    """A compiled network."""

    def __init__(self, model: Path, precision: str = "f32") -> None:
        """Compile the IR at `model` for the CPU.

        Args:
            model: the .xml file; its weights lie beside it.
            precision: a key of `ARITHMETIC`; a CPU without bfloat16 computes in f32 instead.

        Raises:
            BundleError: the file is missing or no network.
        """
        import openvino

        # Without the hint OpenVINO computes in bfloat16 where the CPU can, and scores drift.
        settings = {
            "INFERENCE_PRECISION_HINT": ARITHMETIC[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise BundleError(f"{model} is no network that OpenVINO can load: {error}") from None
        names = [output.any_name if output.names else "" for output in self._compiled.outputs]
        # The only output of a bundle of format 1 had a name of no meaning; it is the score.
        self._names = names if names == ["features"] or len(names) > 1 else ["score"]

    @property
    def computes_in(self) -> str:
        """The arithmetic that this CPU uses: `f32` or `bf16`."""
        kind = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return str(kind)

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order; reading batches overlaps with computing.

        No Python callback is used (as `AsyncInferQueue` does): when the network is freed, OpenVINO
        joins its threads with Python's lock held, and a thread on its way out of a callback wants
        that lock, so the process would now and then hang for ever.
        """
        count = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        # Some more than compute at a time: a request that waits fills the gap of one that is done.
        idle = [self._compiled.create_infer_request() for _ in range(2 * count)]
        running: deque[InferRequest] = deque()
        for batch in batches:
            if not idle:
                yield self._finish(running, idle)
            request = idle.pop()
            request.start_async({0: batch})
            running.append(request)
        while running:
            yield self._finish(running, idle)

    def run_all(self, batches: Iterable[Batch]) -> Outputs:
        """Return the outputs for all batches, joined."""
        return joined(self.stream(batches))

    def _finish(self, running: deque[InferRequest], idle: list[InferRequest]) -> Outputs:
        request = running.popleft()
        request.wait()
        outputs = {
            name: np.array(request.get_output_tensor(index).data)
            for index, name in enumerate(self._names)
        }
        idle.append(request)
        return outputs


def joined(parts: Iterable[Outputs]) -> Outputs:
    """Return the outputs of many batches as one; nothing by any name where there is no batch."""
    collected: dict[str, list[npt.NDArray[np.float32]]] = {}
    for part in parts:
        for name, rows in part.items():
            collected.setdefault(name, []).append(rows)
    return {name: np.concatenate(rows) for name, rows in collected.items()}


def connected(first: Path, second: Path, target: Path) -> None:
    """Write at `target` (.xml) the network that feeds what `first` gives to `second`.

    Args:
        first: an IR with one output.
        second: an IR with one input; its outputs are those of the result.
        target: where to write it, not compressed.

    Raises:
        BundleError: a file is no network, or the two do not fit.
    """
    import openvino

    core = openvino.Core()
    try:
        front, back = core.read_model(first), core.read_model(second)
        given = front.output(0).get_node().input_value(0)
        for reader in back.input(0).get_target_inputs():
            reader.replace_source_output(given)
        whole = openvino.Model(back.get_results(), front.get_parameters(), "classifier")
        whole.validate_nodes_and_infer_types()
        openvino.save_model(whole, target, compress_to_fp16=False)
    except RuntimeError as error:
        raise BundleError(f"{first} and {second} cannot be connected: {error}") from None
