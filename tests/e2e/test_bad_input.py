"""Bad input and Ctrl-C give one clear line, and change nothing that was there."""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import TOOLS, RunningProcess

from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.handover.training_summaries import FILE as RUNS
from cracks.workspace.params_file import set_params
from tests.e2e.conftest import Workspace
from tests.unit.builders import write_files


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[[], Workspace]) -> Workspace:
    """A workspace in which a small sample has been ingested, so that there is something to lose."""
    made = make_workspace()
    set_params(made.root / "params.yaml", ["ingest.source=sample", "ingest.sample.patches=40"])
    assert made.dvc("repro", "--single-item", "ingest").returncode == 0
    return made


@pytest.mark.slow
def test_a_source_that_cannot_be_used_is_refused_in_one_line(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = tmp_path / "cut.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, content in draw_sample(2, seed=1):
            archive.writestr(name, content)
    source.write_bytes(source.read_bytes()[:-300])
    before = workspace.files()
    done = workspace.cracks("train", "-S", f"ingest.source={source}")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "damaged or cut short" in errors[0]
    assert str(source) in errors[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    after = workspace.files()
    # -S writes params.yaml by request, and the page /pipeline tells of the refusal; that is all.
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"params.yaml", f"service/{RUNS}", f"service/.{RUNS}.lock"}


def test_a_bad_key_is_refused_by_name_and_not_written(workspace: Workspace) -> None:
    before = (workspace.root / "params.yaml").read_bytes()
    done = workspace.cracks("train", "-S", "train.epoch=3")
    assert done.returncode == 1
    assert "unknown key train.epoch. Did you mean train.epochs?" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (workspace.root / "params.yaml").read_bytes() == before


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    done = workspace.cracks("-C", tmp_path, "train")
    assert done.returncode == 1
    assert "is no workspace" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_exit_code_2(workspace: Workspace) -> None:
    assert workspace.cracks("predict").returncode == 2
    assert workspace.cracks("no-such-verb").returncode == 2


@pytest.mark.parametrize("verb", ["train", "predict", "serve", "data", "models"])
def test_every_verb_explains_itself(workspace: Workspace, verb: str) -> None:
    done = workspace.cracks(verb, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


@pytest.mark.slow
def test_data_that_breaks_an_expectation_stops_the_run_with_a_table(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    other = make_workspace()
    photographs = dict(draw_sample(240, seed=3))
    photographs["Positive/00007.jpg"] = photographs["Negative/00009.jpg"]
    source = write_files(tmp_path / "photos", photographs)
    done = other.cracks("train", "-S", f"ingest.source={source}")
    assert done.returncode == 1
    assert "no copy under both labels" in done.stderr
    assert "Positive/00007.jpg" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: validate: broken: ")
    assert not (other.root / "models").exists()
    assert (other.root / "reports/data_docs/index.html").is_file()


def test_ctrl_c_leaves_nothing_half_written(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    workspace = make_workspace()
    # Small shards: the first one comes soon, and there is a lot still to do.
    small = ["ingest.source=sample", "ingest.shard_rows=100"]
    set_params(workspace.root / "params.yaml", small)
    before = workspace.files()
    process = RunningProcess(
        [TOOLS / "cracks", "-C", workspace.root, "train"], tmp_path, variables=workspace.variables
    )
    try:
        partial = workspace.root / "data/.images.partial"
        process.wait_until(lambda: any(partial.glob("part-*")), "the first shard", timeout=120)
        # As a terminal does: to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.end()
    assert "Interrupted. Nothing half-written was left" in process.stderr
    assert "Traceback" not in process.stderr
    assert workspace.files() == before
