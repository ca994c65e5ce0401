"""Run the exported network in ONNX Runtime and LiteRT, apart from the calling process.

A runtime that meets a network it cannot compute may abort its whole process, so networks are
checked through `run_apart`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cracks.errors import BundleError
from cracks.images.decode import Pixels
from cracks.inference.runtime.latency import time_single
from cracks.workspace.stage_reports import Latency

#: The rows of one batch, float32 (n, …), by the name of the output.
Outputs = dict[str, npt.NDArray[np.float32]]

#: The exit code of `main` when the network is refused with a message.
REFUSED: Final = 3


class OnnxNetwork:
    """A network in ONNX Runtime, from uint8 pixels (n, size, size, 3) to named outputs."""

    def __init__(self, model: Path) -> None:
        """Load the ONNX file `model`.

        Raises:
            BundleError: the file is missing or no network.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised; nothing else is worth a line
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise _no_network(model, "ONNX Runtime", error) from None
        self._input = self._session.get_inputs()[0].name
        self._names = [output.name for output in self._session.get_outputs()]

    def run_all(self, batches: Iterable[Pixels]) -> list[Outputs]:
        """Return the outputs of each batch, in order."""
        return [
            dict(zip(self._names, self._session.run(None, {self._input: batch}), strict=True))
            for batch in batches
        ]


class LiteRTNetwork:
    """A network in LiteRT, from uint8 pixels (n, size, size, 3) to named outputs."""

    def __init__(self, model: Path) -> None:
        """Load the .tflite file `model`, which has one signature.

        Raises:
            BundleError: the file is missing or no network.
        """
        from ai_edge_litert.interpreter import Interpreter

        try:
            # The runner only works as long as its interpreter lives.
            self._interpreter = Interpreter(str(model), num_threads=os.cpu_count())
            self._run = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise _no_network(model, "LiteRT", error) from None
        (self._input,) = self._run.get_input_details()

    def run_all(self, batches: Iterable[Pixels]) -> list[Outputs]:
        """Return the outputs of each batch, in order."""
        return [self._run(**{self._input: batch}) for batch in batches]


RUNTIMES: Final[dict[str, tuple[str, type[OnnxNetwork] | type[LiteRTNetwork]]]] = {
    ".onnx": ("ONNX Runtime", OnnxNetwork),
    ".tflite": ("LiteRT", LiteRTNetwork),
}


def time_other(model: Path, image: Pixels, repetitions: int) -> Latency:
    """Return how long one image takes in the runtime of a file; see `latency.time_single`."""
    network = RUNTIMES[model.suffix][1](model)
    return time_single(lambda: network.run_all([image]), repetitions)


def run_apart(model: Path, images: Pixels, batch_size: int, timeout: float = 600) -> Outputs:
    """Return the outputs of `images`, computed in a process of its own that may die.

    Args:
        model: a file .onnx or .tflite.
        images: uint8 (n, size, size, 3).
        batch_size: how many of them the network sees at a time.
        timeout: seconds.

    Raises:
        BundleError: the runtime refuses the network, dies of it, or does not finish.
    """
    runtime, _ = RUNTIMES[model.suffix]
    with tempfile.TemporaryDirectory() as folder:
        given, computed = Path(folder, "images.npy"), Path(folder, "outputs.npz")
        np.save(given, images)
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "cracks.inference.runtime.onnx_litert",
            model,
        ]
        command += [str(batch_size), given, computed]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise BundleError(f"{model}: {runtime} did not finish in {timeout:g} s.") from None
        if ended.returncode == REFUSED:
            raise BundleError(ended.stderr.strip().splitlines()[-1])
        if ended.returncode:
            raise BundleError(f"{model}: {runtime} {_end(ended.returncode, ended.stderr)}")
        with np.load(computed) as outputs:
            return dict(outputs)


def _end(code: int, log: str) -> str:
    last = (log.strip().splitlines() or ["it said nothing"])[-1]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with code {code}"
    return f"{how} while computing the network: {last}"


def _no_network(model: Path, runtime: str, error: Exception) -> BundleError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BundleError(f"{model} is no network that {runtime} can load: {reason}")


def main(model: Path, batch_size: int, given: Path, computed: Path) -> None:
    """Write the outputs of the images in `given` (.npy) to `computed` (.npz)."""
    images = np.load(given)
    _, network = RUNTIMES[model.suffix]
    parts = range(0, len(images), batch_size)
    rows = network(model).run_all(images[start : start + batch_size] for start in parts)
    outputs = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    np.savez(computed, **outputs)  # type: ignore[arg-type]  # none is called allow_pickle


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
    except BundleError as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(REFUSED)
