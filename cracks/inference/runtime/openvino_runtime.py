"""Run a network in OpenVINO, the one runtime that training and serving share."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from cracks.errors import BundleError
from cracks.system.parallel import is_in_one_thread

if TYPE_CHECKING:
    from openvino import InferRequest, Model

#: What a network takes: uint8 pixels (n, size, size, 3), or float32 features (n, …).
Batch = npt.NDArray[Any]
#: What it gives: float32 (n, …) for each of its outputs, by name.
Outputs = dict[str, npt.NDArray[np.float32]]

#: What OpenVINO calls the arithmetic of a precision; int8 is in the weights.
ARITHMETIC = {"f32": "f32", "bf16": "bf16", "int8": "f32"}

#: The files of a half of the classifier in its folder: in Keras, and the same as OpenVINO IR in the
#: precision that is computed with (its weights lie beside it, in network.bin).
KERAS: Final = "model.keras"
NETWORK: Final = "network.xml"

#: Bytes for which a disk that is not full has room.
ROOM = 1 << 20


class Runs(Protocol):
    """Anything that predicts batches: this module's network, or Keras beside it for comparison."""

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order."""


class Network:
    """A compiled network."""

    def __init__(self, model: Path, precision: str = "f32", threads: int | None = None) -> None:
        """Compile the IR at `model` for the CPU.

        Args:
            model: the .xml file; its weights lie beside it.
            precision: a key of `ARITHMETIC`; a CPU without bfloat16 computes in f32 instead.
            threads: to compute with, where several processes share the cores; None takes them all.

        Raises:
            BundleError: the file is missing or no network.
        """
        import openvino

        # Without the hint OpenVINO computes in bfloat16 where the CPU can, and scores drift.
        settings = {
            "INFERENCE_PRECISION_HINT": ARITHMETIC[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        if threads:
            # Every process would tie its threads to the same first cores.
            settings |= {"INFERENCE_NUM_THREADS": str(threads), "ENABLE_CPU_PINNING": "NO"}
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

    @property
    def parallel_batches(self) -> int:
        """How many batches it computes at a time."""
        return int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def open_request(self) -> Request:
        """Return a place to compute one batch at a time; each thread needs one of its own."""
        return Request(self._compiled.create_infer_request(), self._names)

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order; reading batches overlaps with computing.

        No Python callback is used (as `AsyncInferQueue` does): when the network is freed, OpenVINO
        joins its threads with Python's lock held, and a thread on its way out of a callback wants
        that lock, so the process would sometimes deadlock.
        """
        if is_in_one_thread():
            yield from map(self.open_request().run, batches)
            return
        # Some more than compute at a time: a request that waits fills the gap of one that is done.
        idle = [self.open_request() for _ in range(2 * self.parallel_batches)]
        running: deque[Request] = deque()
        for batch in batches:
            if not idle:
                yield _finish(running, idle)
            request = idle.pop()
            request.start(batch)
            running.append(request)
        while running:
            yield _finish(running, idle)

    def run_all(self, batches: Iterable[Batch]) -> Outputs:
        """Return the outputs for all batches, joined."""
        return joined(self.stream(batches))


class Request:
    """Computes one batch at a time."""

    def __init__(self, request: InferRequest, names: Sequence[str]) -> None:
        self._request, self._names = request, names

    def run(self, batch: Batch) -> Outputs:
        """Return the outputs for a batch; other threads run meanwhile."""
        self.start(batch)
        return self.finish()

    def start(self, batch: Batch) -> None:
        """Begin to compute; `finish` must follow before the next one."""
        self._request.start_async({0: batch})

    def finish(self) -> Outputs:
        """Wait for the batch that was started, and return its outputs."""
        self._request.wait()
        return {
            name: np.array(self._request.get_output_tensor(index).data)
            for index, name in enumerate(self._names)
        }


def _finish(running: deque[Request], idle: list[Request]) -> Outputs:
    request = running.popleft()
    outputs = request.finish()
    idle.append(request)
    return outputs


def keep_blas_to_one_thread() -> None:
    """Leave the cores to OpenVINO, for the rest of the process.

    Two threads of OpenBLAS beside those of OpenVINO wait for each other: the novelty of 8 patches
    takes 40 ms instead of 1, measured on 2 cores on 2026-11-21.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


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
    except RuntimeError as error:
        raise BundleError(f"{first} and {second} cannot be connected: {error}") from None
    save_network(whole, target)


def save_network(network: Model, target: Path) -> None:
    """Write a network at `target` (.xml), and its weights, not compressed, beside it (.bin).

    Raises:
        OSError: why it cannot be written, as the system says it.
        RuntimeError: OpenVINO refused for another reason.
    """
    import openvino

    try:
        openvino.save_model(network, target, compress_to_fp16=False)
    except RuntimeError:
        # OpenVINO says of a full disk only that a stream failed.
        with tempfile.TemporaryFile(dir=target.parent) as room:
            room.write(bytes(ROOM))
        raise


def open_network(folder: Path, precision: str) -> Network:
    """Return the network of a half of the classifier, ready to run.

    Raises:
        BundleError: OpenVINO cannot load it.
    """
    return Network(folder / NETWORK, precision)
