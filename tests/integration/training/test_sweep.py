"""`cracks sweep` in a real workspace: shared, killed, gone on with, and seen in MLflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock, Timeout
from processes import (
    TOOLS,
    RunningProcess,
    StartProcess,
    clone_working_tree,
    environment,
    free_port,
)
from servers import tracking_address
from typer.testing import CliRunner, Result

from cli.app import app
from cracks.errors import TrackingError, WorkspaceError
from cracks.workspace.params_file import load_params, set_params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import write_report

if TYPE_CHECKING:
    from mlflow.entities import Run

SMALL = (
    "ingest.source=sample",
    "ingest.sample.patches=120",
    "ingest.shard_rows=60",
    "featurize.image_size=32",
    "train.epochs=2",
)
TRIALS = 3
SIZES = (32, 40)
SWEEP = (
    "--vary",
    "train.learning_rate=0.001..0.02",
    "--vary",
    f"featurize.image_size={','.join(map(str, SIZES))}",
    "--json",
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A small workspace whose features are computed, and DVC knows it."""
    paths = Paths(clone_working_tree(tmp_path_factory.mktemp("workspace")))
    set_params(paths.params, SMALL)
    run_stages(paths, "ingest", "split")
    # As if the data had been checked: featurize waits for that.
    write_report(paths.report("validate"), {})
    run_stages(paths, "featurize")
    commit = [sys.executable, "-m", "dvc", "commit", "--force", "ingest", "featurize"]
    subprocess.run(commit, cwd=paths.root, env=environment(), check=True, capture_output=True)
    return paths


def run_stages(paths: Paths, *names: str) -> None:
    """Run stages in this process, which has TensorFlow loaded already."""
    from tasks.featurize import featurize
    from tasks.ingest import ingest
    from tasks.split import split

    stages = {"ingest": ingest, "split": split, "featurize": featurize}
    for name in names:
        write_report(paths.report(name), stages[name](load_params(paths.params), paths))


Begin = Callable[..., RunningProcess]


@pytest.fixture(scope="module")
def begin(paths: Paths, start_for_module: StartProcess) -> Begin:
    """Return a function that starts `cracks sweep` in the workspace."""

    def started(*arguments: object, **variables: str) -> RunningProcess:
        command = [TOOLS / "cracks", "-C", paths.root, "sweep", *map(str, arguments)]
        return start_for_module(command, variables=variables, name="cracks sweep")

    return started


@dataclass(frozen=True)
class Swept:
    """A sweep that is done."""

    before: Mapping[str, bytes]  # files that it must not touch
    summary: Mapping[str, Any]


@pytest.fixture(scope="module")
def swept(paths: Paths) -> Swept:
    before = _files(paths)
    done = sweep(paths, "--trials", TRIALS, *SWEEP)
    assert done.exit_code == 0, (done.output, done.exception)
    return Swept(before, json.loads(done.stdout))


def sweep(paths: Paths, *arguments: object) -> Result:
    """Run `cracks sweep` in this process, which has TensorFlow loaded already."""
    with tracking_address(None):
        return CliRunner().invoke(app, ["-C", str(paths.root), "sweep", *map(str, arguments)])


@dataclass(frozen=True)
class Shared:
    """A sweep that two processes shared until one of them was killed in the middle of a trial."""

    at_the_kill: str  # what its file held
    killed: RunningProcess
    other: RunningProcess

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.other.stdout)
        return summary


def _files(paths: Paths) -> dict[str, bytes]:
    files = [paths.params, paths.pipeline_lock, *sorted(paths.features.iterdir())]
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def shared(paths: Paths, begin: Begin) -> Shared:
    log, command = paths.root / "sweeps/shared.log", ("--trials", TRIALS, "--name", "shared")
    killed, other = begin(*command, *SWEEP), begin(*command, *SWEEP)

    def is_in_a_trial_after_the_first() -> bool:
        begun = _begun(killed)
        return bool(begun) and '"history"' in log.read_text() and _is_tried(paths, begun[-1])

    def is_stopped_there() -> bool:
        # Looked at while it stands still, for the trial may end between a look and the kill.
        os.kill(killed.pid, signal.SIGSTOP)
        if not (there := is_in_a_trial_after_the_first()):
            os.kill(killed.pid, signal.SIGCONT)
        return there

    killed.wait_until(is_stopped_there, "a trial after the first", timeout=120)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(10)
    at_the_kill = log.read_text()
    assert other.wait(180) == 0, other.log
    return Shared(at_the_kill, killed, other)


def _begun(process: RunningProcess) -> list[int]:
    """Return the numbers of the trials that a process began."""
    lines = process.stderr.splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("trial ")]


def _is_tried(paths: Paths, number: int) -> bool:
    """Return whether a living process holds the lock of a trial."""
    with suppress(Timeout), FileLock(paths.root / f"sweeps/.shared/{number}.lock", timeout=0):
        return False
    return True


def _runs(paths: Paths, name: str) -> list[Run]:
    """Return the runs of a sweep, the one that stands above the others first."""
    from mlflow import MlflowClient

    address = f"sqlite:///{paths.local_tracking / 'mlflow.db'}"
    client = MlflowClient(address, address)
    experiment = client.get_experiment_by_name("concrete-crack-training")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == f"sweep {name}"]
    below = ("mlflow.parentRunId", parent.info.run_id)
    return [parent, *(run for run in runs if below in run.data.tags.items())]


@pytest.mark.slow
def test_two_processes_share_the_trials_and_the_killed_one_is_tried_again(shared: Shared) -> None:
    assert sorted(trial["number"] for trial in shared.summary["trials"]) == [1, 2, 3]
    assert {trial["state"] for trial in shared.summary["trials"]} == {"finished"}
    broken_off = _begun(shared.killed)[-1]
    assert sorted(_begun(shared.killed) + _begun(shared.other)) == sorted([1, 2, 3, broken_off])
    assert broken_off in _begun(shared.other)


@pytest.mark.slow
def test_what_was_finished_before_the_kill_stays(shared: Shared) -> None:
    kept = [
        trial for trial in shared.summary["trials"] if str(trial["val_loss"]) in shared.at_the_kill
    ]
    assert 1 <= len(kept) < TRIALS


def test_the_best_parameters_are_those_of_the_least_validation_loss(swept: Swept) -> None:
    best, trials = swept.summary["best"], swept.summary["trials"]
    assert best["val_loss"] == min(trial["val_loss"] for trial in trials)
    assert best["params"] == trials[0]["params"]
    assert [trial["val_loss"] for trial in trials] == sorted(t["val_loss"] for t in trials)
    for key, value in best["params"].items():
        assert f"-S {key}={value}" in best["command"]


@pytest.mark.slow
def test_a_sweep_leaves_parameters_and_features_alone_and_git_does_not_see_it(
    swept: Swept, paths: Paths
) -> None:
    assert _files(paths) == swept.before
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=paths.root, capture_output=True, text=True, check=True
    ).stdout
    assert "sweeps" not in status


def test_other_features_are_computed_once_beside_those_of_the_workspace(
    swept: Swept, paths: Paths
) -> None:
    sizes = {trial["params"]["featurize.image_size"] for trial in swept.summary["trials"]}
    assert sizes == set(SIZES), "the seed of the search must try both"
    assert len(list((paths.root / "sweeps/features").iterdir())) == 1


def test_mlflow_has_a_run_of_the_sweep_and_one_below_it_for_each_trial(
    swept: Swept, paths: Paths
) -> None:
    parent, *trials = _runs(paths, "default")
    assert (parent.info.run_name, parent.info.status) == ("sweep default", "FINISHED")
    assert parent.data.metrics["best.val_loss"] == swept.summary["best"]["val_loss"]
    assert parent.data.tags["best.trial"] == str(swept.summary["best"]["number"])

    children = {int(run.data.tags["sweep.trial"]): run for run in trials}
    assert len(trials) == len(children) == TRIALS
    for trial in swept.summary["trials"]:
        run = children[trial["number"]]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.data.tags["architecture"], run.data.tags["mode"]) == ("cnn", "scratch")
        assert run.data.params == {key: str(value) for key, value in trial["params"].items()}
        assert run.data.metrics["best.val_loss"] == trial["val_loss"]
        assert "epoch.val_loss" in run.data.metrics


@pytest.mark.slow
def test_ctrl_c_ends_a_longer_sweep_and_keeps_its_finished_trials(
    shared: Shared, paths: Paths, begin: Begin
) -> None:
    assert shared.summary["trials"]
    longer = begin("--trials", TRIALS + 1, "--name", "shared", *SWEEP)
    longer.wait_until(lambda: "trial 4 of 4" in longer.stderr, "the fourth trial", timeout=120)
    longer.interrupt()
    assert longer.wait(60) == 130, longer.log
    assert "Traceback" not in longer.stderr
    parent, *trials = _runs(paths, "shared")
    assert (parent.info.status, len(trials)) == ("KILLED", TRIALS)


@pytest.mark.slow
@pytest.mark.kernels
def test_a_trial_learns_what_the_stage_train_learns(paths: Paths, tmp_path: Path) -> None:
    from cracks.training.sweep.trials import Trainer
    from tasks.train import train

    params = load_params(paths.params)
    history = Trainer(params, paths, tmp_path).learn({"train.dropout": 0.2}, tmp_path / "kept")
    report = train(params, paths)
    best = min(history, key=lambda row: row["val_loss"])
    assert {"epoch": report["best_epoch"], **report["best"]} == best
    assert not paths.checkpoints.exists()


def test_a_server_of_mlflow_that_does_not_respond_is_reported_before_anything_is_trained(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with tracking_address(f"http://127.0.0.1:{free_port()}"):
        lost = CliRunner().invoke(app, ["-C", str(paths.root), "sweep", "--name", "lost"])
    assert isinstance(lost.exception, TrackingError)
    assert "cannot be reached" in str(lost.exception)
    assert not (paths.root / "sweeps/lost.log").exists()


def test_features_that_are_not_those_of_params_yaml_are_refused(paths: Paths) -> None:
    from cli.sweep import require_features

    require_features(paths)
    set_params(paths.params, ["featurize.image_size=36"])
    try:
        with pytest.raises(WorkspaceError, match="dvc repro featurize"):
            require_features(paths)
    finally:
        set_params(paths.params, SMALL)


@pytest.mark.slow
def test_new_photographs_cost_only_their_own_features(paths: Paths, tmp_path: Path) -> None:
    later = Paths(tmp_path / "later")
    shutil.copytree(paths.root, later.root, ignore=shutil.ignore_patterns(".git", "sweeps"))

    def featurize() -> str:
        """Run the stage in a process of its own, which alone names all layers as another one."""
        command = [sys.executable, "-m", "tasks", "featurize"]
        return subprocess.run(
            command, cwd=later.root, env=environment(), check=True, capture_output=True, text=True
        ).stderr

    featurize()
    known = {file: file.read_bytes() for file in later.features.glob("*.npy")}
    written = {file: file.stat().st_mtime_ns for file in known}
    assert len(known) == 2
    set_params(later.params, ["ingest.sample.patches=180"])
    run_stages(later, "ingest", "split")
    said = featurize()
    assert "2 of 3 shards known" in said
    assert "60 of 60" in said
    assert len(list(later.features.glob("*.npy"))) == 3
    assert {file: file.read_bytes() for file in known} == known
    assert {file: file.stat().st_mtime_ns for file in known} == written
