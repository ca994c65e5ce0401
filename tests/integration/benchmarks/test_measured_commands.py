"""Commands that are measured: their time and memory, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import CHECKOUT, environment

from benchmarks.scratch import MeasurementFailed, Scratch
from cracks.dataset.shards import ShardRow, ShardWriter
from tests.unit.builders import ROOT, picture, write_files


@pytest.fixture
def place(tmp_path: Path) -> Scratch:
    (tmp_path / "scratch").mkdir()
    return Scratch(tmp_path / "scratch")


MEASURE = """
import sys
from benchmarks.scratch import scratch
greedy = "import time; x = bytearray(400 << 20); time.sleep(0.2); print('done')"
with scratch() as place:
    found = place.run([sys.executable, "-c", greedy], place.place)
print(found.output.strip(), found.seconds, found.peak_mb)
"""


def test_a_command_is_timed_and_its_peak_memory_is_known() -> None:
    # In a process of its own: the tests' may have needed more, and no less would be reported.
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
    )
    output, seconds, peak_mb = done.stdout.split()
    assert output == "done"
    assert 0.2 < float(seconds) < 30
    assert 400 < float(peak_mb) < 600


def test_a_command_that_refuses_is_quoted(place: Scratch) -> None:
    script = "import sys; print('first'); sys.exit('error: no photographs')"
    with pytest.raises(MeasurementFailed, match="ended with 1: error: no photographs"):
        place.run([sys.executable, "-c", script], place.place)


def test_nothing_that_was_started_outlives_an_interruption(place: Scratch) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with (
        pytest.raises(KeyboardInterrupt),
        place.started("child", [sys.executable, "-c", script], place.place) as started,
    ):
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.killpg(started.process.pid, 0)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    source = write_files(
        tmp_path / "photographs",
        {f"{label}/1.jpg": picture() for label in ("Negative", "Positive")},
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--source", source],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr
    while "workspace: ingest" not in (line := process.stderr.readline()):
        assert line, process.wait()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.splitlines() == ["Interrupted. What it had started is ended and cleared away."]
    assert list(temporary.iterdir()) == []


def test_the_bare_loop_computes_every_image_of_the_first_shard(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset13
    pixels = ops.parameter([-1, 32, 32, 3], dtype=openvino.Type.u8)
    mean = ops.reduce_mean(ops.convert(pixels, "f32"), [1, 2])
    openvino.save_model(openvino.Model([mean], [pixels]), tmp_path / "network.xml")
    writer = ShardWriter(tmp_path / "shards", shard_rows=10)
    for seed in range(15):
        writer.add(ShardRow(f"{seed:064x}", "crack", f"{seed}.jpg", picture(seed)))
    writer.flush()
    command = [sys.executable, "-P", ROOT / "benchmarks" / "bare_loop.py"]
    given = [tmp_path / "shards", tmp_path / "network.xml", "4"]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["images"] == 10
    assert found["images_per_s"] > 0
