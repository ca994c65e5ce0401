"""DVC and git in a small workspace: what is out of date, one stage at a time, and what was used."""

from __future__ import annotations

import gc
import hashlib
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import CHECKOUT, RunningProcess, StartProcess, git, wait_until

from cracks.errors import StageError, WorkspaceBusy, WorkspaceError
from cracks.versioning.dvc_data import bring_data, push_data, recorded_outputs, share_storage
from cracks.versioning.dvc_stages import (
    changes_since,
    locked_workspace,
    output_digest,
    pipeline_digest,
    run_stage,
    stage_is_up_to_date,
)
from cracks.versioning.git_state import CodeVersion, clone_at, code_version, has_commit
from cracks.workspace.paths import Paths
from tests.integration.versioning.locks import OTHER_DVC, OTHER_RUN, hold

PIPELINE = """
stages:
  copy:
    cmd: python copying.py
    deps: [input.txt]
    params: [greeting]
    outs: [copied.txt, folder]
  count:
    cmd: python counting.py
    deps: [copied.txt]
    metrics:
      - counted.txt: {cache: false}
"""

COPY = """
import os, pathlib, sys
text = pathlib.Path("input.txt").read_text()
if text == "refuse":
    pathlib.Path(os.environ["CRACKS_MESSAGE_FILE"]).write_text("copy: I refuse. Write otherwise.")
    sys.exit(1)
if text == "break":
    sys.exit("something broke")
if text == "interrupt":
    sys.exit(130)
if text == "fill":
    raise OSError(28, os.strerror(28))
if progress := os.environ.get("CRACKS_PROGRESS_FILE"):
    pathlib.Path(progress + ".new").write_text('{"done": 1, "total": 4}')
    os.replace(progress + ".new", progress)
print("copying", text, file=sys.stderr)
while text == "wait" and not pathlib.Path("go").exists():
    pathlib.Path("waiting").touch()
pathlib.Path("copied.txt").write_text(text)
folder = pathlib.Path("folder")
folder.mkdir(exist_ok=True)
(folder / "one").write_text(text)
with open("runs.log", "a") as log:
    log.write("copy ")
"""

COUNT = """
import pathlib
text = pathlib.Path("copied.txt").read_text()
pathlib.Path("counted.txt").write_text(f"{len(text)}")
with open("runs.log", "a") as log:
    log.write("count ")
"""

RUN_A_STAGE = """
import sys
from pathlib import Path
from cracks.errors import CracksError
from cracks.workspace.paths import Paths
from cracks.versioning.dvc_stages import run_stage
assert sys.stderr.isatty()
try:
    run_stage(Paths(Path(sys.argv[1])), "copy")
except CracksError as error:
    print(type(error).__name__)
"""


@dataclass(frozen=True)
class Workspace:
    root: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    def git(self, *arguments: str) -> str:
        return git(self.root, *arguments)

    def write(self, text: str) -> None:
        (self.root / "input.txt").write_text(text)

    @property
    def runs(self) -> list[str]:
        """The stages that have run so far, in order."""
        log = self.root / "runs.log"
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A git and DVC repository of two quick stages, none of which has run."""
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    for name in ("config", ".gitignore"):
        (root / ".dvc" / name).write_bytes((CHECKOUT / ".dvc" / name).read_bytes())
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("greeting: hello\n")
    (root / "copying.py").write_text(COPY)
    (root / "counting.py").write_text(COUNT)
    (root / ".gitignore").write_text("/copied.txt\n/folder\n/runs.log\n/waiting\n/go\n")
    workspace = Workspace(root)
    workspace.write("concrete")
    workspace.git("init", "--quiet")
    workspace.git("add", ".")
    workspace.git("commit", "--quiet", "-m", "Begin")
    return workspace


@pytest.fixture
def done(workspace: Workspace) -> Workspace:
    """The workspace after its first stage."""
    run_stage(workspace.paths, "copy")
    assert workspace.runs == ["copy"]
    return workspace


# --- stages ---------------------------------------------------------------------------------------


def test_a_stage_is_up_to_date_once_it_has_run_and_one_that_never_ran_is_not(
    done: Workspace,
) -> None:
    assert stage_is_up_to_date(done.paths, "copy")
    assert not stage_is_up_to_date(done.paths, "count")
    assert (done.root / "copied.txt").read_text() == "concrete"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("input.txt", "brick", id="input"),
        pytest.param("params.yaml", "greeting: bye\n", id="parameter"),
        pytest.param("dvc.yaml", PIPELINE.replace("copying.py", "./copying.py"), id="command"),
        pytest.param("copied.txt", "meddled with", id="output"),
    ],
)
def test_a_change_makes_a_stage_out_of_date(done: Workspace, file: str, content: str) -> None:
    (done.root / file).unlink()
    (done.root / file).write_text(content)
    assert not stage_is_up_to_date(done.paths, "copy")


def test_a_change_that_the_stage_does_not_read_leaves_it_up_to_date(done: Workspace) -> None:
    (done.root / "params.yaml").write_text("greeting: hello\nanother: 1\n")
    assert stage_is_up_to_date(done.paths, "copy")


def test_only_the_named_stage_runs(done: Workspace) -> None:
    done.write("brick")
    run_stage(done.paths, "count")
    assert done.runs == ["copy", "count"]


def test_what_is_up_to_date_runs_only_when_it_is_forced(done: Workspace) -> None:
    run_stage(done.paths, "copy")
    assert done.runs == ["copy"]
    run_stage(done.paths, "copy", force=True)
    assert done.runs == ["copy", "copy"]


def test_what_was_computed_before_is_taken_from_the_cache(done: Workspace) -> None:
    for text in ("brick", "concrete"):
        done.write(text)
        run_stage(done.paths, "copy")
    assert done.runs == ["copy", "copy"], "the first result was computed again"
    assert (done.root / "copied.txt").read_text() == "concrete"


def test_what_a_stage_says_and_how_far_it_has_come_are_passed_on(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    shares: list[float] = []
    with caplog.at_level(logging.INFO, "cracks"):
        run_stage(workspace.paths, "copy", on_progress=shares.append)
    assert "copying concrete" in caplog.messages
    assert set(shares) == {0.25}


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_running_a_stage_leaves_no_pipe_open(workspace: Workspace) -> None:
    run_stage(workspace.paths, "copy")
    gc.collect()


def test_a_file_of_the_workspace_never_takes_the_place_of_a_module_that_dvc_needs(
    workspace: Workspace,
) -> None:
    (workspace.root / "queue.py").write_text("raise SystemExit('not meant for dvc')")
    run_stage(workspace.paths, "copy")
    assert workspace.runs == ["copy"]


def test_a_refusal_is_the_stages_own_message_and_the_stage_can_run_later(
    workspace: Workspace,
) -> None:
    workspace.write("refuse")
    with pytest.raises(StageError) as refusal:
        run_stage(workspace.paths, "copy")
    assert str(refusal.value) == "copy: I refuse. Write otherwise."
    assert not stage_is_up_to_date(workspace.paths, "copy")
    workspace.write("concrete")
    run_stage(workspace.paths, "copy")
    assert stage_is_up_to_date(workspace.paths, "copy")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        pytest.param("break", "`cd {root} && dvc repro copy` shows more", id="no message"),
        pytest.param("fill", "the disk is full. Make room for {root}", id="full disk"),
    ],
)
def test_a_failure_is_told_in_one_line_that_names_the_stage_and_the_remedy(
    workspace: Workspace, text: str, remedy: str
) -> None:
    workspace.write(text)
    with pytest.raises(StageError, match="The stage copy failed") as failure:
        run_stage(workspace.paths, "copy")
    assert remedy.format(root=workspace.root) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_ctrl_c_that_reached_the_stage_alone_ends_everything(workspace: Workspace) -> None:
    # Python drops the KeyboardInterrupt of a process that is in a callback just then.
    workspace.write("interrupt")
    with pytest.raises(KeyboardInterrupt):
        run_stage(workspace.paths, "copy")
    assert not stage_is_up_to_date(workspace.paths, "copy")


def test_an_unknown_stage_is_named(workspace: Workspace) -> None:
    with pytest.raises(StageError, match="nonsense"):
        run_stage(workspace.paths, "nonsense")
    with pytest.raises(WorkspaceError, match="nonsense"):
        stage_is_up_to_date(workspace.paths, "nonsense")


def test_a_damaged_pipeline_is_told_of_by_its_workspace(workspace: Workspace) -> None:
    (workspace.root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(WorkspaceError, match=f"{workspace.root}"):
        stage_is_up_to_date(workspace.paths, "copy")


def test_a_missing_input_is_named(workspace: Workspace) -> None:
    (workspace.root / "input.txt").unlink()
    with pytest.raises(StageError, match=r"input\.txt"):
        run_stage(workspace.paths, "copy")


# --- two at a time --------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cracks.versioning.dvc_stages.LOCK_TIMEOUT", 0.3)


@pytest.mark.usefixtures("impatient")
def test_a_workspace_in_which_another_run_works_is_busy_until_that_one_ends(
    start: StartProcess, workspace: Workspace, tmp_path: Path
) -> None:
    other = hold(start, OTHER_RUN, workspace.root)
    busy = pytest.raises(WorkspaceBusy, match=f"Another run works in {workspace.root}")
    with busy as refusal, locked_workspace(workspace.paths):
        pytest.fail("two runs in one workspace")
    assert refusal.value.is_transient
    with locked_workspace(Paths(tmp_path / "another")):
        pass
    other.end()  # killed or not, its lock is free
    with locked_workspace(workspace.paths):
        pass


def test_a_dvc_command_elsewhere_makes_the_workspace_busy(
    start: StartProcess, workspace: Workspace
) -> None:
    other = hold(start, OTHER_DVC, workspace.root)
    with pytest.raises(WorkspaceBusy, match="Another dvc command runs"):
        stage_is_up_to_date(workspace.paths, "copy")
    with pytest.raises(WorkspaceBusy, match="Another dvc command runs"):
        run_stage(workspace.paths, "copy")
    other.end()
    run_stage(workspace.paths, "copy")
    assert workspace.runs == ["copy"]


def test_it_is_busy_on_a_terminal_too(start: StartProcess, workspace: Workspace) -> None:
    hold(start, OTHER_DVC, workspace.root)
    terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    process = start(
        [sys.executable, "-c", terminal, sys.executable, "-c", RUN_A_STAGE, workspace.root],
    )
    process.wait(30)
    assert "WorkspaceBusy" in process.stdout, process.log


@pytest.fixture
def at_the_desk(start: StartProcess, workspace: Workspace) -> Iterator[RunningProcess]:
    """A person's `dvc repro` in the midst of the first stage."""
    workspace.write("wait")
    process = start([sys.executable, "-m", "dvc", "repro", "copy"], cwd=workspace.root)
    process.wait_until((workspace.root / "waiting").exists, "the stage")
    yield process
    (workspace.root / "go").touch()


def test_a_stage_that_runs_at_the_desk_makes_the_workspace_busy(
    at_the_desk: RunningProcess, workspace: Workspace
) -> None:
    with pytest.raises(WorkspaceBusy, match="Another dvc command runs"):
        run_stage(workspace.paths, "copy")
    (workspace.root / "go").touch()
    assert at_the_desk.wait(30) == 0, at_the_desk.log
    wait_until(lambda: stage_is_up_to_date(workspace.paths, "copy"), "an up-to-date stage")


# --- what was used --------------------------------------------------------------------------------


def test_the_code_version_is_the_commit_and_dirty_where_a_file_that_git_knows_has_changed(
    workspace: Workspace,
) -> None:
    (workspace.root / "notes.txt").write_text("to myself")
    commit = workspace.git("rev-parse", "HEAD")
    assert code_version(workspace.root) == CodeVersion(commit, dirty=False)
    (workspace.root / "copying.py").write_text("print('changed')")
    assert code_version(workspace.root).dirty


def test_a_folder_without_a_git_repository_or_a_commit_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=f"git cannot read {tmp_path}: .*not a git repository"):
        code_version(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(WorkspaceError, match=f"git cannot read {tmp_path}"):
        code_version(tmp_path)


def test_the_digest_of_an_output_is_dvcs_own_and_follows_its_content(done: Workspace) -> None:
    md5 = hashlib.md5((done.root / "copied.txt").read_bytes(), usedforsecurity=False).hexdigest()
    assert output_digest(done.paths, "copy", "copied.txt") == md5
    folder = output_digest(done.paths, "copy", "folder")
    assert folder.endswith(".dir")
    assert len(folder) <= 36, "longer than MLflow takes"
    done.write("brick")
    run_stage(done.paths, "copy")
    assert output_digest(done.paths, "copy", "folder") != folder


@pytest.mark.parametrize(("stage", "output"), [("count", "counted.txt"), ("copy", "nothing")])
def test_an_output_that_no_stage_has_made_is_named(
    done: Workspace, stage: str, output: str
) -> None:
    with pytest.raises(WorkspaceError, match=rf"no {output} of {stage}\. Run `dvc repro`"):
        output_digest(done.paths, stage, output)


def test_the_pipeline_has_a_digest_once_a_stage_has_run(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"dvc\.lock does not exist"):
        pipeline_digest(workspace.paths)
    run_stage(workspace.paths, "copy")
    lock = (workspace.root / "dvc.lock").read_bytes()
    assert pipeline_digest(workspace.paths) == hashlib.sha256(lock).hexdigest()


# --- the workspace of another time ----------------------------------------------------------------


@pytest.fixture
def clone(done: Workspace, tmp_path: Path) -> Workspace:
    """A clone of the workspace at its only commit, with what dvc.lock said then."""
    run_stage(done.paths, "count")
    clone = Workspace(tmp_path / "clone")
    clone_at(done.paths, done.git("rev-parse", "HEAD"), clone.root)
    (clone.root / "dvc.lock").write_bytes((done.root / "dvc.lock").read_bytes())
    share_storage(done.paths, clone.paths)
    return clone


@pytest.mark.parametrize("commit", ["", "HEAD", "--help", "0" * 40, "abc", "f" * 64, "main\n"])
def test_what_is_no_commit_here_is_not_known(workspace: Workspace, commit: str) -> None:
    assert not has_commit(workspace.root, commit)


def test_a_commit_that_no_branch_leads_to_is_known_and_cloned(
    workspace: Workspace, tmp_path: Path
) -> None:
    first = workspace.git("rev-parse", "HEAD")
    workspace.write("brick")
    workspace.git("commit", "--quiet", "--all", "-m", "Go on")
    second = workspace.git("rev-parse", "HEAD")
    workspace.git("reset", "--quiet", "--hard", first)
    assert has_commit(workspace.root, first)
    assert has_commit(workspace.root, second)
    clone_at(workspace.paths, second, tmp_path / "clone")
    assert (tmp_path / "clone/input.txt").read_text() == "brick"
    assert code_version(tmp_path / "clone") == CodeVersion(second, dirty=False)


def test_data_of_then_comes_from_the_cache_of_the_workspace(
    done: Workspace, clone: Workspace
) -> None:
    done.write("brick")
    run_stage(done.paths, "copy")
    assert bring_data(clone.paths) == []
    assert (clone.root / "copied.txt").read_text() == "concrete"
    assert (clone.root / "folder/one").read_text() == "concrete"
    # It is a copy: what is written to it is not written to the cache.
    (clone.root / "copied.txt").write_text("meddled with")
    assert (done.root / "copied.txt").read_text() == "brick"


def test_data_that_the_cache_lost_comes_from_the_remote(done: Workspace, clone: Workspace) -> None:
    push_data(done.paths)
    shutil.rmtree(done.root / ".dvc/cache")
    assert bring_data(clone.paths) == []
    assert (clone.root / "folder/one").read_text() == "concrete"


def test_data_that_nobody_has_is_named(done: Workspace, clone: Workspace) -> None:
    shutil.rmtree(done.root / ".dvc/cache")
    assert bring_data(clone.paths) == ["copied.txt", "folder"]


def test_outputs_that_dvc_does_not_keep_are_told_from_those_it_does(clone: Workspace) -> None:
    digest = hashlib.md5(b"8", usedforsecurity=False).hexdigest()
    assert recorded_outputs(clone.paths, cached=False) == [("counted.txt", digest)]
    assert [path for path, _ in recorded_outputs(clone.paths, cached=True)] == [
        "copied.txt",
        "folder",
    ]


def test_what_is_not_as_dvc_lock_says_is_named(clone: Workspace) -> None:
    bring_data(clone.paths)
    (clone.root / "counted.txt").write_text("8")
    assert changes_since(clone.paths) == []
    clone.write("brick")
    (clone.root / "params.yaml").write_text("greeting: bye\n")
    (clone.root / "counted.txt").unlink()
    assert sorted(changes_since(clone.paths)) == [
        "copy: input.txt modified",
        "copy: params.yaml greeting modified",
        "count: counted.txt deleted",
    ]
