"""An ingest that is killed at any moment loses nothing: the next one ends as if it had not been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from processes import RunningProcess, StartProcess, clone_working_tree, wait_until

from cracks.images.synthetic_concrete import draw_sample
from cracks.workspace.params_file import set_params
from tests.unit.builders import write_files

pytestmark = pytest.mark.slow

PATCHES = 600

#: Kills on an empty workspace, and as many on one that has taken in a part of the photographs.
KILLS = 5

#: What a run writes, beside the report that names no time either.
WRITTEN = ("data", "reports")


@pytest.fixture(scope="module")
def photographs() -> dict[str, bytes]:
    drawn = dict(draw_sample(PATCHES, seed=5, processes=os.cpu_count() or 1))
    names = list(drawn)
    copies = {f"Positive/copy {i}.jpg": drawn[names[-i]] for i in (1, 2, 3)}
    unusable = {"Negative/cut.jpg": drawn[names[0]][:500], "Positive/empty.jpg": b""}
    return drawn | copies | unusable


def _outputs(root: Path) -> dict[str, bytes]:
    """Return every file of the outputs, hidden ones and leftovers too."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for name in WRITTEN
        for path in sorted((root / name).rglob("*"))
        if path.is_file()
    }


def _begun(start: StartProcess, root: Path) -> RunningProcess:
    """Return a run that has begun to write, or has ended already."""
    process = start([sys.executable, "-m", "tasks", "ingest"], cwd=root, name="ingest")
    partial = root / "data/.images.partial"
    wait_until(
        lambda: partial.exists() or process.exit_code is not None,
        "the first shard",
        timeout=120,
        interval=0.002,
    )
    return process


def _run(start: StartProcess, root: Path) -> float:
    """Run to the end, and return how many seconds it took from the first thing written on."""
    process, begun = _begun(start, root), time.monotonic()
    assert process.wait(120) == 0, process.log
    return time.monotonic() - begun


@pytest.mark.parametrize("is_append", [False, True], ids=["empty", "append"])
def test_whenever_it_is_killed_the_next_run_ends_with_the_same_bytes(
    photographs: dict[str, bytes], start: StartProcess, tmp_path: Path, is_append: bool
) -> None:
    root, photos = clone_working_tree(tmp_path / "workspace"), tmp_path / "photos"
    set_params(root / "params.yaml", ["ingest.source=../photos", "ingest.shard_rows=50"])
    if is_append:
        # Every third photograph is taken in already, and some that are gone now.
        gone = {f"Negative/gone {i}.jpg": one for i, (_, one) in enumerate(draw_sample(6, seed=6))}
        known = {name: photographs[name] for name in list(photographs)[1::3]}
        write_files(photos, known | gone)
        _run(start, root)
        shutil.rmtree(photos)
    before = _outputs(root)
    write_files(photos, photographs)
    whole = _run(start, root)
    undisturbed = _outputs(root)
    assert "data/manifest.parquet" in undisturbed
    rng, killed = random.Random(2026 + is_append), 0
    for number in range(KILLS):
        for name in WRITTEN:
            shutil.rmtree(root / name, ignore_errors=True)
        write_files(root, before)
        process = _begun(start, root)
        # One kill in each part of the run, at a random moment of it.
        time.sleep(whole * (number + rng.random()) / KILLS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all its threads and children
        killed += process.wait(30) == -signal.SIGKILL
        _run(start, root)
        assert _outputs(root) == undisturbed
    assert killed >= KILLS - 2, "most runs must have been killed, not have ended before"
