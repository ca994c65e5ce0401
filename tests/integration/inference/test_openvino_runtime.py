"""The runtime OpenVINO: batches in order, numbers as expected, and a process that always ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import StartProcess

from cracks.errors import BundleError
from cracks.images.decode import Pixels
from cracks.inference.runtime.openvino_runtime import Network, joined
from tests.integration.bundles import write_network, write_network_of_format_1

SIZE = 32

CREATE_AND_FREE = """
import sys, numpy as np
from cracks.inference.runtime.openvino_runtime import Network
batches = [np.full((4, 32, 32, 3), grey, np.uint8) for grey in range(12)]
for round in range(50):
    network = Network(sys.argv[1])
    assert len(network.run_all(batches)["score"]) == 48
    del network
    print(round, flush=True)
"""


#: oneDNN says at its first kernel what it uses of the processor.
SHOW_KERNELS = """
import sys, numpy as np
from cracks.inference.runtime.openvino_runtime import Network
Network(sys.argv[1]).run_all([np.zeros((1, 8, 8, 3), np.uint8)])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.xml"
    write_network(path, size=SIZE)
    return path


@pytest.fixture(scope="module")
def network(model: Path) -> Network:
    return Network(model)


@pytest.fixture(scope="module")
def batches() -> list[Pixels]:
    """Batches of different sizes, the images of each brighter than those of the one before."""
    rng = np.random.default_rng(3)
    shape = (SIZE, SIZE, 3)
    return [rng.integers(6 * n, 6 * n + 9, (1 + n % 5, *shape), np.uint8) for n in range(40)]


def write_convolution(model: Path) -> None:
    """Write a network of one convolution, whose kernel is oneDNN's."""
    import openvino
    from openvino import opset13

    pixels = opset13.parameter([-1, 8, 8, 3], np.uint8, name="image")
    planes = opset13.transpose(opset13.convert(pixels, "f32"), opset13.constant([0, 3, 1, 2]))
    weights = opset13.constant(np.full((16, 3, 3, 3), 1 / 3, np.float32))
    convolved = opset13.convolution(planes, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    openvino.save_model(openvino.Model([convolved], [pixels]), model, compress_to_fp16=False)


@pytest.mark.kernels
def test_results_come_in_the_order_of_the_batches_by_name(
    network: Network, batches: list[Pixels]
) -> None:
    results = list(network.stream(batches))
    assert [len(part["score"]) for part in results] == [len(batch) for batch in batches]
    outputs, pixels = joined(results), np.concatenate(batches)
    assert outputs.keys() == {"score", "features"}
    assert outputs["features"] == pytest.approx(pixels.mean(axis=(1, 2)), abs=1e-3)
    assert outputs["score"][:, 0] == pytest.approx(pixels.mean(axis=(1, 2, 3)) / 255, abs=1e-5)
    assert {rows.dtype for rows in outputs.values()} == {np.dtype(np.float32)}


def test_the_only_output_of_an_old_network_is_the_score_whatever_its_name(
    tmp_path: Path, network: Network, batches: list[Pixels]
) -> None:
    write_network_of_format_1(tmp_path / "model.xml", size=SIZE)
    old = Network(tmp_path / "model.xml").run_all(batches)
    assert old.keys() == {"score"}
    np.testing.assert_array_equal(old["score"], network.run_all(batches)["score"])


def test_results_are_there_before_the_last_batch_is_read(
    network: Network, batches: list[Pixels]
) -> None:
    read = 0

    def counted() -> Iterator[Pixels]:
        nonlocal read
        for batch in batches:
            read += 1
            yield batch

    next(network.stream(counted()))
    assert read < len(batches)


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_where_the_cpu_could_round_more_f32_is_still_f32(model: Path, precision: str) -> None:
    assert Network(model, precision).computes_in == "f32"


@pytest.mark.skipif(
    "avx2" not in Path("/proc/cpuinfo").read_text().split(), reason="the processor has no AVX2"
)
def test_a_process_of_a_test_computes_with_the_kernels_that_are_asked_for(
    start: StartProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_convolution(tmp_path / "model.xml")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    command = [sys.executable, "-c", SHOW_KERNELS, tmp_path / "model.xml"]
    # Told when kernels are made: while it times them too, oneDNN fails in one of 300 processes.
    process = start(command, variables={"ONEDNN_VERBOSE": "profile_create"})
    assert process.wait(60) == 0, process.log
    assert "cpu,isa:Intel AVX2\n" in process.stdout


@pytest.mark.kernels
def test_a_cpu_that_has_bfloat16_rounds_to_eight_bits_and_no_further(tmp_path: Path) -> None:
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").startswith("AVX2"):
        pytest.skip("OpenVINO asks the processor and not oneDNN whether there is bfloat16")
    write_convolution(tmp_path / "model.xml")
    rough = Network(tmp_path / "model.xml", "bf16")
    pixels = np.random.default_rng(4).integers(0, 256, (3, 8, 8, 3), np.uint8)
    exact = Network(tmp_path / "model.xml").run_all([pixels])["score"]
    difference = np.abs(rough.run_all([pixels])["score"] - exact)
    # A sum of positive numbers: each, its weight and the result are rounded by 2**-9 at most.
    assert (difference <= 3 * 2**-9 * exact + 1e-3).all()
    assert difference.any() == (rough.computes_in == "bf16")


@pytest.mark.kernels
def test_many_batches_at_a_time_give_what_one_by_one_gives(
    network: Network, batches: list[Pixels]
) -> None:
    together = network.stream(batches)
    alone = [network.run_all([batch])["score"] for batch in batches]
    for part, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(part["score"], expected)


def test_no_batch_gives_no_result(network: Network) -> None:
    assert network.run_all([]) == {}


def test_a_batch_whose_making_fails_leaves_the_network_usable(
    network: Network, batches: list[Pixels]
) -> None:
    def broken() -> Iterator[Pixels]:
        yield from batches[:3]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        network.run_all(broken())
    assert len(network.run_all(batches[:1])["score"]) == len(batches[0])


def test_creating_and_freeing_networks_never_hangs(start: StartProcess, model: Path) -> None:
    # Callbacks of OpenVINO's AsyncInferQueue want Python's lock while freeing waits for them with
    # that lock held: about one process in ten would stand still for ever.
    process = start([sys.executable, "-c", CREATE_AND_FREE, model])
    assert process.wait(90) == 0, process.log
    assert process.stdout.splitlines()[-1] == "49"


@pytest.mark.parametrize("content", [None, "", "<net", "a text", 0.3, 0.7, 0.99, "no weights"])
def test_a_file_that_is_no_whole_network_is_refused_by_its_name(
    tmp_path: Path, model: Path, content: str | float | None
) -> None:
    damaged, whole = tmp_path / "model.xml", model.read_text()
    if content == "no weights":
        damaged.write_text(whole)
    else:
        damaged.with_suffix(".bin").write_bytes(model.with_suffix(".bin").read_bytes())
        if isinstance(content, float):
            damaged.write_text(whole[: int(len(whole) * content)])
        elif content is not None:
            damaged.write_text(content)
    with pytest.raises(BundleError, match=f"{damaged} is no network"):
        Network(damaged)
