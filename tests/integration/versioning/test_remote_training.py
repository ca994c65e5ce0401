"""Training on machines that have a git URL, a DVC remote in S3 and credentials only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gitserver import READER_TOKEN, WORKER_TOKEN, git_server
from processes import TOOLS, RunningProcess, StartProcess, clone_working_tree, git
from s3 import SECRET_KEY, S3Proxy, S3Server
from servers import PrefectServer

from cracks.errors import CracksError, RemoteError, StorageError, WorkspaceBusy, WorkspaceError
from cracks.versioning.git_results import TOKEN
from cracks.versioning.remote_training import RemoteTrainingRequest, prepare, request_of
from cracks.versioning.run_folder import KEPT, scratch_folder
from cracks.workspace.params_file import set_params
from tests.e2e.conftest import LITTLE_EVALUATION

pytestmark = pytest.mark.timeout(1200)

#: Of this file alone, for the server has the models of other tests, and their champions.
MODEL = "trained-elsewhere"

SMALL = [
    f"register.model_name={MODEL}",
    "ingest.source=sample",
    "ingest.sample.patches=160",
    "ingest.shard_rows=100",
    "featurize.image_size=32",
    "train.epochs=1",
    *LITTLE_EVALUATION,
    "register.limits={}",  # how good it is does not matter here
]

RESULTS = "retrained/main"

WORK = """
import json
from cracks.system.environment import apply_environment_defaults
apply_environment_defaults()
from flows.remote import remote_training
state = remote_training(return_state=True)
print(json.dumps(state.result() if state.is_completed() else {"refusal": state.message}))
"""


@dataclass(frozen=True)
class Elsewhere:
    """Where everything is: the repository, the bucket, the registry; and a desk to push from."""

    desk: Path
    repository: Path
    bucket: Path
    variables: Mapping[str, str]
    start: StartProcess
    place: Path

    def git(self, *arguments: str, at: Path | None = None) -> str:
        return git(at or self.repository, *arguments)

    def scratch(self, worker: str) -> Path:
        return self.place / worker / "scratch"

    def begin(self, worker: str, **variables: str) -> RunningProcess:
        """Let a machine of its own, which has nothing yet, train."""
        own = self.place / worker
        own.mkdir()
        return self.start(
            [sys.executable, "-c", WORK],
            variables={
                **self.variables,
                "HOME": str(own),
                "CRACKS_SCRATCH_DIR": str(self.scratch(worker)),
                **variables,
            },
            cwd=own,
            name=f"worker {worker}",
        )

    def end(self, process: RunningProcess) -> dict[str, Any]:
        assert process.wait(900) == 0, process.log
        result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
        assert "refusal" not in result, process.log
        return result

    def tags(self, version: str) -> dict[str, str]:
        from mlflow import MlflowClient

        # Both: the registry is otherwise that of whatever this process talked to last.
        server = self.variables["MLFLOW_TRACKING_URI"]
        client = MlflowClient(server, server)
        found: dict[str, str] = client.get_model_version(MODEL, version).tags
        return found

    def change(self, *assignments: str) -> None:
        """Change params.yaml as a person at a desk does."""
        set_params(self.desk / "params.yaml", list(assignments))
        self.git("commit", "-aqm", "Other parameters", at=self.desk)
        self.git("push", "-q", str(self.repository), "HEAD:main", at=self.desk)


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, start_for_module: StartProcess, s3_server: S3Server
) -> Iterator[Elsewhere]:
    """The repository and the bucket; no server of Prefect or MLflow."""
    place = tmp_path_factory.mktemp("elsewhere")
    desk, served = clone_working_tree(place / "desk"), place / "served"
    set_params(desk / "params.yaml", SMALL)
    bucket = s3_server.new_bucket()
    with git_server(served) as server:
        variables = {
            **s3_server.variables,
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "CRACKS_GIT_URL": f"{server.url}/project.git",
            "CRACKS_GIT_TOKEN": WORKER_TOKEN,
            "CRACKS_DVC_REMOTE": f"s3://{bucket.name}/dvc",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        repository = served / "project.git"
        made = Elsewhere(desk, repository, bucket, variables, start_for_module, place)
        made.git("commit", "-aqm", "Small", at=desk)
        made.git("branch", "-M", "main", at=desk)
        made.git("clone", "-q", "--bare", str(desk), str(repository), at=place)
        yield made


@pytest.fixture(scope="module")
def elsewhere(project: Elsewhere, prefect_server: PrefectServer, mlflow_server: str) -> Elsewhere:
    servers = {**prefect_server.variables, "MLFLOW_TRACKING_URI": mlflow_server}
    return replace(project, variables={**project.variables, **servers})


@dataclass(frozen=True)
class Worked:
    result: dict[str, Any]
    process: RunningProcess


@pytest.fixture(scope="module")
def first(elsewhere: Elsewhere) -> Worked:
    """The first training of all."""
    process = elsewhere.begin("first")
    return Worked(elsewhere.end(process), process)


def objects_of(elsewhere: Elsewhere, output: str, commit: str) -> str:
    """Return how the object begins that an output of dvc.lock is kept in."""
    lock = elsewhere.git("show", f"{commit}:dvc.lock")
    found = re.search(rf"- path: {re.escape(output)}\n\s+hash: md5\n\s+md5: (\w+)", lock)
    assert found, lock
    return f"files/md5/{found[1][:2]}/{found[1][2:]}"


# --- one after the other --------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_registered_was_pushed_before_with_its_data(
    elsewhere: Elsewhere, first: Worked
) -> None:
    result = first.result
    assert set(result["stages"].values()) == {"ran"}
    assert (result["version"], result["promoted"]) == ("1", False)
    elsewhere.git("merge-base", "--is-ancestor", result["commit"], RESULTS)
    tags = elsewhere.tags("1")
    assert (tags["git.commit"], tags["git.dirty"]) == (result["commit"], "false")
    files = elsewhere.git("diff", "--name-only", "main", result["commit"]).splitlines()
    assert {name.split("/")[0] for name in files} == {"dvc.lock", "reports"}
    for output in ("data/images", "models/bundle", "data/scores.parquet"):
        key = objects_of(elsewhere, output, result["commit"])
        assert any(elsewhere.bucket.glob(f"dvc/{key}*")), f"{output} was not pushed"


@pytest.mark.slow
def test_the_message_of_the_commit_says_what_was_found(elsewhere: Elsewhere, first: Worked) -> None:
    message = elsewhere.git("log", "-1", "--format=%B", first.result["commit"])
    test = first.result["metrics"]
    assert message.startswith(f"Retrain: first, accuracy {test['accuracy']:.4f}, crack recall")
    assert f"Code: {elsewhere.git('rev-parse', 'main')} of main" in message
    assert re.search(r"^Flow-Run: [0-9a-f-]{36}$", message, re.MULTILINE)
    assert "Verdict: first" in message


@pytest.mark.slow
def test_the_chain_leads_to_the_pushed_commit(elsewhere: Elsewhere, first: Worked) -> None:
    at_desk = elsewhere.place / "reader"
    elsewhere.git("clone", "-q", str(elsewhere.repository), str(at_desk), at=elsewhere.place)
    command = [TOOLS / "cracks", "-C", at_desk, "trace", "v1", "--json"]
    done = elsewhere.start(command, variables=elsewhere.variables)
    assert done.wait(120) == 0, done.log
    chain = json.loads(done.stdout)
    assert chain["broken"] == []
    (commit,) = [link for link in chain["chain"] if link["link"] == "commit"]
    assert commit["value"] == first.result["commit"]


@pytest.mark.slow
def test_nothing_is_left_and_no_secret_is_told(elsewhere: Elsewhere, first: Worked) -> None:
    assert list(elsewhere.scratch("first").iterdir()) == []
    # The project's own history holds the made-up secrets of these tests.
    given_back = elsewhere.git("log", "-p", RESULTS, "--not", "main")
    assert "dvc.lock" in given_back
    told = [first.process.stdout, first.process.stderr, given_back]
    for secret in (WORKER_TOKEN, SECRET_KEY):
        assert not any(secret in text for text in told)


@pytest.fixture(scope="module")
def second(elsewhere: Elsewhere, first: Worked) -> tuple[dict[str, Any], S3Proxy]:
    """The same training on another machine, and what it asked the bucket for."""
    with S3Proxy(elsewhere.variables["AWS_ENDPOINT_URL"]) as proxy:
        return elsewhere.end(elsewhere.begin("second", AWS_ENDPOINT_URL=proxy.url)), proxy


@pytest.mark.slow
def test_another_machine_runs_no_stage_again_and_brings_the_bundle_alone(
    elsewhere: Elsewhere, first: Worked, second: tuple[dict[str, Any], S3Proxy]
) -> None:
    result, proxy = second
    assert set(result["stages"].values()) == {"up to date"}
    for same in ("run_id", "version", "commit", "branch"):
        assert result[same] == first.result[same]
    assert not any(request.startswith("PUT") for request in proxy.asked)
    brought = {key.removeprefix("dvc/") for key in proxy.downloads}
    commit = result["commit"]
    assert any(key.startswith(objects_of(elsewhere, "models/bundle", commit)) for key in brought)
    for output in ("data/images", "data/features", "models/trainable", "data/scores.parquet"):
        assert not any(key.startswith(objects_of(elsewhere, output, commit)) for key in brought)


# --- two at once ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_at_once_run_what_changed_and_lose_nothing(
    elsewhere: Elsewhere, second: tuple[dict[str, Any], S3Proxy]
) -> None:
    assert second  # it compared with what was there before
    elsewhere.change("export.max_score_difference=0.002")
    workers = [elsewhere.begin(name) for name in ("left", "right")]
    results = [elsewhere.end(worker) for worker in workers]
    history = elsewhere.git("rev-list", RESULTS).splitlines()
    for result in results:
        ran = [stage for stage, how in result["stages"].items() if how == "ran"]
        assert ran == ["export"]
        assert result["commit"] in history
        assert result["branch"] == RESULTS
        assert elsewhere.tags(result["version"])["git.commit"] in history
    elsewhere.git("fsck", "--strict")
    # Whoever comes next believes what is there, all of it.
    third = elsewhere.end(elsewhere.begin("third"))
    assert set(third["stages"].values()) == {"up to date"}


# --- refusals, found out before anything is trained -----------------------------------------------


@pytest.fixture
def asked(
    project: Elsewhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RemoteTrainingRequest:
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    return request_of("", "", "", "retrained/{branch}", "", project.variables)


Refused = Callable[[], Any]


def one_line(call: Refused, kind: type[CracksError]) -> str:
    with pytest.raises(kind) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    assert WORKER_TOKEN not in message
    return message


@pytest.mark.parametrize(
    ("without", "given", "kind", "says"),
    [
        ([], {TOKEN: READER_TOKEN}, RemoteError, ["403", f"to push retrained/main: {TOKEN}"]),
        ([], {TOKEN: "wrong"}, RemoteError, [TOKEN]),
        ([TOKEN], {}, RemoteError, [TOKEN]),
        (
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
            {},
            StorageError,
            ["Set AWS_ACCESS_KEY_ID"],
        ),
    ],
    ids=["may only read", "wrong token", "no token", "no credentials of the remote"],
)
def test_what_may_not_push_is_refused_before_hours_are_spent(
    asked: RemoteTrainingRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    without: list[str],
    given: dict[str, str],
    kind: type[CracksError],
    says: list[str],
) -> None:
    for name in without:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    message = one_line(lambda: prepare(asked, tmp_path / "run"), kind)
    assert all(part in message for part in says)


def test_a_remote_in_the_workspace_itself_is_refused(
    asked: RemoteTrainingRequest, tmp_path: Path
) -> None:
    nowhere = replace(asked, storage="")
    message = one_line(lambda: prepare(nowhere, tmp_path / "run"), RemoteError)
    assert "CRACKS_DVC_REMOTE" in message


def test_a_registry_in_the_workspace_itself_is_refused() -> None:
    message = one_line(lambda: request_of("url", "", "", "r", "", {}), RemoteError)
    assert message.startswith("MLFLOW_TRACKING_URI is not set")


# --- the folder of a run --------------------------------------------------------------------------

PREPARE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from cracks.versioning import remote_training
from cracks.versioning.run_folder import scratch_folder

request = remote_training.request_of("", "", "", "retrained/{branch}", "", os.environ)
if sys.argv[2] == "cloning":
    remote_training.take_up_results = lambda _: os.kill(os.getpid(), signal.SIGKILL)
with scratch_folder(Path(sys.argv[1]), "run") as folder:
    remote_training.prepare(request, folder)
    (folder / "workspace/.git/index.lock").touch()
    (folder / "workspace/learned").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("moment", "goes_on"), [("cloning", False), ("training", True)])
def test_a_killed_run_is_gone_on_with_from_its_last_whole_state(
    asked: RemoteTrainingRequest,
    start: StartProcess,
    project: Elsewhere,
    tmp_path: Path,
    moment: str,
    goes_on: bool,
) -> None:
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-c", PREPARE_AND_DIE, scratch, moment]
    process = start(command, variables=project.variables)
    assert process.wait(60) == -9, process.log
    with scratch_folder(scratch, "run") as folder:
        site = prepare(asked, folder)
        assert (site.paths.root / "learned").exists() == goes_on
        assert site.base == project.git("rev-parse", "main")
        assert project.git("status", "--porcelain", "-uno", at=site.paths.root) == ""
    assert not list(scratch.iterdir())


def fail_in(folder: Path) -> None:
    with scratch_folder(folder.parent, folder.name) as own:
        (own / "data").touch()
        with pytest.raises(WorkspaceBusy), scratch_folder(folder.parent, folder.name):
            pass
        raise ValueError("failed")


def test_a_folder_is_one_run_s_alone_kept_after_a_failure_and_not_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(KEPT + 2):
        with pytest.raises(ValueError, match="failed"):
            fail_in(tmp_path / str(number))
        assert caplog.messages[-1] == f"What this run has made is kept in {tmp_path / str(number)}"
    kept = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert kept == [str(number) for number in range(1, KEPT + 2)]
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(WorkspaceError, match="CRACKS_SCRATCH_DIR"), scratch_folder(file, "run"):
        pass
