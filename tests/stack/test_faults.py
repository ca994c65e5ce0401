"""Faults, each injected for real while the worker trains and the service answers.

After each: nothing is lost and nothing half-registered, the run ends well by itself or says in one
line what to do, and the service has answered throughout unless it was the one that was killed.
docs/operations.md tells what was observed. A stack of its own: later files count versions.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from disks import mounted_disk
from processes import TOOLS, clone_working_tree, environment, free_port, wait_until
from s3 import Response, S3Proxy, rclone, slow_down

from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.bundle.bundle import open_bundle
from cracks.registry.tags import BUNDLE_TAG
from cracks.storage.client import ATTEMPTS
from cracks.workspace.params_file import set_params
from infra.stack.local import local_command
from infra.stack.services import describe
from infra.stack.settings import PORTS
from infra.stack.supervision import Supervisor
from tests.e2e.conftest import LITTLE_EVALUATION
from tests.stack.conftest import Facts, RunningStack
from tests.stack.steady_client import SteadyClient

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]

MODEL = "concrete-crack-classifier"

#: Seconds until a moment of a training must have come, and until all services must be back.
MOMENT_TIMEOUT, BACK_TIMEOUT = 600, 300

#: Where the photographs lie in S3: in a bucket that promotion and MLflow do not use.
SOURCE = "dvc/photographs"

#: A training that takes less than a minute, and whose model is promoted whatever it is worth.
QUICK = [
    f"ingest.source=s3://{SOURCE}",
    "featurize.image_size=32",
    "train.epochs=2",
    "register.limits={}",
    "register.verdicts={"
    + ", ".join(
        f"{verdict}: promote" for verdict in ("first", "better", "not worse", "undecided", "worse")
    )
    + "}",
    *LITTLE_EVALUATION,
]

#: Photographs that are drawn at first, and added for each training that is to read some.
DRAWN, ADDED = 200, 20

#: "some": each fault at one moment; "all": the whole matrix. Without, each service is killed once.
WANTED = os.environ.get("CRACKS_TEST_FAULTS")
SOME = pytest.mark.skipif(
    WANTED not in ("some", "all"),
    reason="six minutes of other faults: CRACKS_TEST_FAULTS=some make test-stack",
)
EVERYTHING = pytest.mark.skipif(
    WANTED != "all",
    reason="half an hour, the whole matrix of faults: CRACKS_TEST_FAULTS=all make test-stack",
)


@dataclass
class Ground:
    """A stack whose service answers with version 1, and the workspace that it was trained in."""

    stack: RunningStack
    workspace: Path
    photograph: bytes
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(201))

    def begin(self, workspace: Path | None = None) -> str:
        """Begin a training that has something to do, in the workspace or in another one."""
        workspace = workspace or self.workspace
        self.let_something_be_new(workspace)
        return self.stack.begin_training(workspace)

    def let_something_be_new(self, workspace: Path) -> None:
        """Change what the last two stages read: the moments of all faults come after these."""
        # The bundle names the intervals, so it is another one, and so are run and version.
        set_params(workspace / "params.yaml", [f"evaluate.resamples={next(self.numbers)}"])

    def end_of(self, run: str) -> Facts:
        return self.stack.wait_for(run, interval=0.5)

    def predicting(self) -> AbstractContextManager[SteadyClient]:
        return SteadyClient(self.stack).predicting(self.photograph)


@pytest.fixture(scope="module")
def ground(
    new_stack: Callable[[], RunningStack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    stack = new_stack()
    stack.up()
    stack.pause_schedules()
    photographs = stack.place.storage / SOURCE
    _add_photographs(photographs, DRAWN, seed=1)
    workspace = clone_working_tree(tmp_path_factory.mktemp("workspace"))
    set_params(workspace / "params.yaml", QUICK)
    made = Ground(stack, workspace, next(photographs.rglob("*.jpg")).read_bytes())
    ended = made.end_of(made.begin())
    assert ended["state"]["type"] == "COMPLETED", ended["state"]["message"]
    yield made
    stack.make("down")


def _add_photographs(folder: Path, number: int, seed: int) -> None:
    for name, content in draw_sample(number, seed):
        file = folder / f"{Path(name).parent}/{seed}-{Path(name).name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


# --- moments of a training ------------------------------------------------------------------------

Moment = Callable[[], object]


def stage_runs(workspace: Path, stage: str) -> Moment:
    """Return what says whether a stage runs in a workspace now."""

    def runs() -> bool:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                known = process.cmdline()[-3:] == ["-m", "tasks", stage]
                if known and process.cwd() == str(workspace):
                    return True
        return False

    return runs


def another_is_recorded(stack: RunningStack) -> Moment:
    """Return what says whether MLflow has begun to keep the files of another run."""
    return _another(stack.place.storage / "mlflow/artifacts", "*/*/artifacts/*")


def another_is_handed_over(stack: RunningStack) -> Moment:
    """Return what says whether another bundle has come to where the service looks."""
    return _another(stack.place.service / "bundles", "*")


def _another(folder: Path, pattern: str) -> Moment:
    known = set(folder.glob(pattern))

    def has_come() -> bool:
        """Say so once of each."""
        new = set(folder.glob(pattern)) - known
        known.update(new)
        return bool(new)

    return has_come


def at(moment: Moment, what: str) -> None:
    wait_until(moment, what, timeout=MOMENT_TIMEOUT, interval=0.1)


# --- faults ---------------------------------------------------------------------------------------


def kill(stack: RunningStack, name: str) -> float:
    """Kill a service as the kernel does that runs out of memory; return when.

    The processes that the worker has started are the trainings, which are another fault.
    """
    watched = Supervisor(stack.place).watched()[name]
    assert watched.pid, f"{name} does not run: {watched}"
    process = psutil.Process(watched.pid)
    family = [process, *([] if name == "worker" else process.children(recursive=True))]
    now = time.time()
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    return now


@contextmanager
def storage_behind(
    stack: RunningStack, spoil: Callable[[str, Response], Response]
) -> Iterator[S3Proxy]:
    """Let everybody reach S3 at its usual address through a proxy that spoils answers."""
    place = stack.place
    supervisor, port = Supervisor(place), free_port()
    known = describe(place).services["s3"]
    command = [part.replace(f":{stack.ports['s3']}", f":{port}") for part in local_command(known)]
    supervisor.stop_service("s3")
    behind = subprocess.Popen(
        [str(rclone()), *command[1:]],
        env={**environment(), **known.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}"), "the S3 endpoint")
        with S3Proxy(f"http://127.0.0.1:{port}", spoil=spoil, port=stack.ports["s3"]) as proxy:
            yield proxy
    finally:
        behind.kill()
        behind.wait()
        supervisor.start_service("s3")


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return bool(httpx.get(url).status_code)
    return False


# --- what must hold after each --------------------------------------------------------------------


def require_sound(ground: Ground, client: SteadyClient, killed: float | None = None) -> None:
    """Nothing is lost, nothing half-registered, and what answers is what the registry says."""
    stack = ground.stack
    wait_until(lambda: stack.unhealthy() == {}, "all services", timeout=BACK_TIMEOUT, interval=1)
    verified = stack.cracks(ground.workspace, "models", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    versions = {str(one["version"]): one for one in stack.versions()}
    for one in versions.values():
        assert one["status"] == "READY"
        (kept,) = (stack.place.storage / "mlflow/artifacts").glob(
            f"*/{one['run_id']}/artifacts/bundle"
        )
        tags = {tag["key"]: tag["value"] for tag in one["tags"]}
        assert open_bundle(kept).digest == tags[BUNDLE_TAG]
    aliases = _aliases(stack)
    assert set(aliases.values()) <= set(versions)
    assert _running(stack) == []
    (answer,) = stack.predict({"patch.jpg": ground.photograph})
    assert answer["run_id"] == versions[aliases["champion"]]["run_id"]
    require_whole(ground.workspace)
    wait_until(lambda: not client.unrecorded(killed), "the log of all predictions", timeout=90)


def require_whole(workspace: Path) -> None:
    """DVC finds the workspace as dvc.lock says, and nothing half-written lies about."""
    status = subprocess.run(
        [TOOLS / "dvc", "status"],
        cwd=workspace,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "up to date" in status.stdout, status.stdout
    assert not list(workspace.rglob("*.partial"))


def _aliases(stack: RunningStack) -> dict[str, str]:
    """Return the versions by alias; besides the model there is no promotion underway."""
    found = stack.mlflow("GET", "/api/2.0/mlflow/registered-models/search").json()
    (model,) = found["registered_models"]
    return {one["alias"]: one["version"] for one in model["aliases"]}


def _running(stack: RunningStack) -> list[str]:
    """Return the runs that MLflow believes to be going on."""
    experiments = stack.mlflow(
        "POST", "/api/2.0/mlflow/experiments/search", json={"max_results": 100}
    ).json()["experiments"]
    asked = {
        "experiment_ids": [one["experiment_id"] for one in experiments],
        "filter": "attributes.status = 'RUNNING'",
    }
    found = stack.mlflow("POST", "/api/2.0/mlflow/runs/search", json=asked).json()
    return [run["info"]["run_id"] for run in found.get("runs", [])]


def runs_in_turn(stack: RunningStack) -> list[str]:
    """Return the run of each version, the first one first."""
    return [one["run_id"] for one in sorted(stack.versions(), key=lambda one: int(one["version"]))]


def require_another_champion(ground: Ground, ended: Facts, before: Sequence[str]) -> None:
    """The training ended by itself, and what it registered, once, answers."""
    assert ended["state"]["type"] == "COMPLETED", ended["state"]["message"]
    after = runs_in_turn(ground.stack)
    assert after[:-1] == [*before]
    (answer,) = ground.stack.predict({"patch.jpg": ground.photograph})
    assert answer["run_id"] == after[-1]


def require_one_line(ended: Facts, *words: str) -> None:
    """The run did not end well, and says in one line what to do."""
    assert ended["state"]["type"] == "FAILED"
    message = ended["state"]["message"]
    assert message.count("\n") == 0
    assert all(word in message for word in words), message


# --- the faults -----------------------------------------------------------------------------------


#: Which services are killed, each at a moment of the training.
KILLS = [
    (("evaluate", "prefect"), ("export", "worker"), ("hand over", "serving")),
    (("record", "s3"), ("record", "postgresql")),
    (("record", "mlflow"),),
    *(
        pytest.param((kill,), marks=EVERYTHING)
        for kill in itertools.product(("evaluate", "record", "hand over"), PORTS)
        if kill != ("record", "mlflow")
    ),
]


@pytest.mark.parametrize("kills", KILLS, ids=str)
def test_services_are_killed_while_it_trains(
    ground: Ground, kills: Sequence[tuple[str, str]]
) -> None:
    stack, before = ground.stack, runs_in_turn(ground.stack)
    moments = {
        "evaluate": stage_runs(ground.workspace, "evaluate"),
        "export": stage_runs(ground.workspace, "export"),
        "record": another_is_recorded(stack),
        "hand over": another_is_handed_over(stack),
    }
    killed: dict[str, float] = {}
    with ground.predicting() as client:
        run = ground.begin()
        for moment, name in kills:
            at(moments[moment], moment)
            killed[name] = kill(stack, name)
        ended = ground.end_of(run)
        require_another_champion(ground, ended, before)
    client.require_predictions(runs_in_turn(stack)[-2:], killed.get("serving"))
    require_sound(ground, client, killed.get("serving"))


@SOME
def test_s3_refuses_everything_then_every_sixth_and_cuts_bodies_short(ground: Ground) -> None:
    stack, before = ground.stack, runs_in_turn(ground.stack)
    numbers, spoiled = itertools.count(), []

    def spoil(request: str, answer: Response) -> Response:
        number = next(numbers) % 6
        if number == 0:
            spoiled.append(f"503 {request}")
            return slow_down()
        if number == 3 and request.startswith("GET") and len(answer.body) > 1:
            spoiled.append(f"cut {request}")
            answer.sent = len(answer.body) // 2
        return answer

    _add_photographs(stack.place.storage / SOURCE, ADDED, seed=2)
    with ground.predicting() as client, storage_behind(stack, lambda *_: slow_down()) as proxy:
        run = stack.begin_training(ground.workspace)
        # One more than botocore asks by itself: the flow has begun to try again.
        at(lambda: len(_listings(proxy)) > ATTEMPTS, "a listing that is refused again and again")
        proxy.spoil = spoil
        ended = ground.end_of(run)
        require_another_champion(ground, ended, before)
    assert any(one.startswith(f"cut GET /{SOURCE}") for one in spoiled)
    assert any("/mlflow/" in one for one in spoiled)
    client.require_predictions(runs_in_turn(stack)[-2:])
    require_sound(ground, client)


def _listings(proxy: S3Proxy) -> list[str]:
    return [one for one in [*proxy.asked] if one.startswith("GET /dvc?")]


@EVERYTHING
def test_s3_refuses_everything_for_long(ground: Ground) -> None:
    stack, before = ground.stack, runs_in_turn(ground.stack)
    with ground.predicting() as client, storage_behind(stack, lambda *_: slow_down()):
        ended = ground.end_of(stack.begin_training(ground.workspace))
        require_one_line(ended, f"s3://{SOURCE}", "Run it again")
        assert runs_in_turn(stack) == before
    client.require_predictions(before[-1:])
    require_sound(ground, client)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with 200 MB."""
    with mounted_disk(tmp_path / "disk", "200m") as place:
        yield place


@SOME
@pytest.mark.parametrize("stage", ["evaluate", pytest.param("export", marks=EVERYTHING)])
def test_the_disk_of_the_workspace_is_full(ground: Ground, small_disk: Path, stage: str) -> None:
    stack, before = ground.stack, runs_in_turn(ground.stack)
    workspace = small_disk / "workspace"
    shutil.copytree(ground.workspace, workspace, symlinks=True)
    ballast = small_disk / "ballast"
    with ground.predicting() as client:
        run = ground.begin(workspace)
        at(stage_runs(workspace, stage), f"the stage {stage}")
        _fill(ballast)
        ended = ground.end_of(run)
        require_one_line(ended, "full", str(workspace), "Make room")
        assert runs_in_turn(stack) == before
        ballast.unlink()
        ended = ground.end_of(stack.begin_training(workspace))
        require_another_champion(ground, ended, before)
    client.require_predictions(runs_in_turn(stack)[-2:])
    require_whole(workspace)
    require_sound(ground, client)


def _fill(ballast: Path) -> None:
    """Write until there is no room for a byte more."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


@SOME
def test_trainings_started_at_once(ground: Ground, tmp_path: Path) -> None:
    """Two by the worker and one at a desk in one workspace, and one at a desk in another."""
    stack, before = ground.stack, runs_in_turn(ground.stack)
    other = tmp_path / "other"
    shutil.copytree(ground.workspace, other, symlinks=True)
    ground.let_something_be_new(other)
    done: dict[str, subprocess.CompletedProcess[str]] = {}
    with ground.predicting() as client:
        first, second = ground.begin(), stack.begin_training(ground.workspace)
        desk = threading.Thread(target=lambda: done.update(other=stack.cracks(other, "train")))
        desk.start()
        at(stage_runs(ground.workspace, "evaluate"), "the stage evaluate")
        same = stack.cracks(ground.workspace, "train")
        ends = [ground.end_of(run) for run in (first, second)]
        desk.join()
        assert [one["state"]["type"] for one in ends] == ["COMPLETED"] * 2
        # Which of the two the worker takes first is its own choice.
        early, late = sorted(ends, key=lambda one: str(one["start_time"]))
        assert late["start_time"] >= early["end_time"]
        after = runs_in_turn(stack)
        # Who comes second to promote is told so, and is done when it is run again.
        again = done["other"]
        if again.returncode:
            assert "began the promotion" in again.stderr.splitlines()[-1]
            again = stack.cracks(other, "train")
        assert again.returncode == 0, again.stderr
    assert len(runs_in_turn(stack)) == len(before) + 2
    assert same.returncode == 0 or same.stderr.splitlines()[-1].startswith(
        f"error: Another run works in {ground.workspace}. Wait until it ends"
    )
    client.require_predictions(after[-3:])
    require_whole(other)
    require_sound(ground, client)
