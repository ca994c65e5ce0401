"""The stack of `make up`, in a folder and on ports of its own, for all tests of this folder.

Whichever test comes first starts it, and whoever leaves it damaged mends it: `stack.up()` starts
what does not run and takes seconds where everything does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from processes import CHECKOUT, TOOLS, clone_working_tree, environment, free_port, wait_until
from s3 import rclone

from cracks.workspace.params_file import set_params
from infra.stack.leftovers import processes
from infra.stack.settings import (
    PORTS,
    Stack,
    StackError,
    port_variable,
    postgresql_program,
    read_env,
)
from tests.e2e.conftest import LITTLE_EVALUATION, shared_file

PHOTOGRAPHS = "data/metu-2k.zip"
WEIGHTS = "weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"

#: Seconds that a training may take on a slow machine.
TRAINING_TIMEOUT = 1500

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

Facts = dict[str, Any]


@dataclass(frozen=True)
class RunningStack:
    place: Stack
    ports: Mapping[str, int]

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do what the targets up, down and status of the Makefile do."""
        process = self.begin(*arguments)
        try:
            output, error = process.communicate(timeout=400)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, output, error)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin what `make` does, and do not wait."""
        return subprocess.Popen(
            [sys.executable, "-m", "infra.stack", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        ports = {port_variable(name): str(port) for name, port in self.ports.items()}
        named = {"CRACKS_STACK_DIR": str(self.place.folder), "CRACKS_RCLONE": str(rclone())}
        return environment(**ports, **named)

    def up(self, *only: str) -> str:
        done = self.make("up", *(("--only", *only) if only else ()))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        shown = json.loads(self.make("status", "--json").stdout)
        return {one["service"]: one for one in shown["services"]}

    def unhealthy(self) -> dict[str, str]:
        return {name: one["health"] for name, one in self.status().items() if not one["healthy"]}

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def client(self) -> dict[str, str]:
        return read_env(self.place.client)

    @property
    def secrets(self) -> dict[str, str]:
        return read_env(self.place.secrets)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a command as in a shell that uses the stack."""
        return subprocess.run(
            [*map(str, command)],
            cwd=CHECKOUT,
            env={**self.environment, **self.client},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def cracks(self, workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(TOOLS / "cracks", "-C", workspace, *arguments)

    def backup(self, *arguments: object) -> str:
        """Do what `make backup` and `make restore` do; return what it says."""
        done = self.run(sys.executable, "-m", "infra.backup", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def listening(self) -> set[tuple[str, int]]:
        """Return each address and port that a process of the stack listens on now."""
        supervisor = int((self.place.folder / "supervisord.pid").read_text())
        ours = {supervisor, *(process.pid for process in processes(self.place))}
        return {
            (one.laddr.ip, one.laddr.port)
            for one in psutil.net_connections(kind="inet")
            if one.pid in ours and not one.raddr
        }

    # --- what clients do --------------------------------------------------------------------------

    def prefect(self, method: str, path: str, body: Any = None) -> Any:
        user, _, password = self.client["PREFECT_API_AUTH_STRING"].partition(":")
        address = self.client["PREFECT_API_URL"] + path
        answer = httpx.request(method, address, json=body, auth=(user, password), timeout=30)
        return answer.raise_for_status().json() if answer.content else None

    def mlflow(self, method: str, path: str, **arguments: Any) -> Any:
        credentials = ("admin", self.client["MLFLOW_TRACKING_PASSWORD"])
        address = f"{self.url('mlflow')}{path}"
        answer = httpx.request(method, address, auth=credentials, timeout=30, **arguments)
        return answer.raise_for_status()

    def predict(self, photographs: Mapping[str, bytes]) -> list[Facts]:
        """Ask the service, with the key of the stack, about files by name."""
        headers = {"Authorization": f"Bearer {self.client['CRACKS_SERVICE_KEY']}"}
        address = f"{self.client['CRACKS_SERVICE_URL']}/predict"
        files = [("files", file) for file in photographs.items()]
        answer = httpx.post(address, files=files, headers=headers, timeout=30)
        predictions: list[Facts] = answer.raise_for_status().json()["predictions"]
        return predictions

    def begin_training(self, workspace: Path) -> str:
        """Ask for a training as a person does in the UI; return the flow run."""
        deployment = self.prefect("GET", "/deployments/name/training/training")
        order = {"parameters": {"workspace": str(workspace)}}
        run = self.prefect("POST", f"/deployments/{deployment['id']}/create_flow_run", order)
        return str(run["id"])

    def wait_for(
        self, run: str, look: Callable[[], object] = lambda: None, interval: float = 2
    ) -> Facts:
        """Return a flow run when it has ended; look at something else every `interval` seconds."""

        def ended() -> Facts | None:
            look()
            try:
                now: Facts = self.prefect("GET", f"/flow_runs/{run}")
            except httpx.HTTPError:  # it is busy, or is just being started anew
                return None
            return now if now["state"]["type"] in FINAL else None

        what = f"the end of the flow run {run}"
        found = wait_until(ended, what, timeout=TRAINING_TIMEOUT, interval=interval)
        assert found is not None
        return found

    def versions(self) -> list[Facts]:
        search = "/api/2.0/mlflow/model-versions/search"
        found: list[Facts] = self.mlflow("GET", search).json().get("model_versions", [])
        return found

    def pause_schedules(self) -> None:
        """Let no night fall into a test: what is asked for runs, and nothing else."""
        for deployment in self.prefect("POST", "/deployments/filter", {}):
            for schedule in deployment["schedules"]:
                place = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
                self.prefect("PATCH", place, {"active": False})


@pytest.fixture(scope="session")
def new_stack() -> Iterator[Callable[[], RunningStack]]:
    """Make stacks that are not up yet; each ends with the session."""
    try:
        postgresql_program("initdb")
    except StackError as error:
        pytest.skip(str(error))
    if not rclone().is_file():
        pytest.skip(f"no S3 endpoint: {rclone()} is absent; `make setup` installs it")
    made: list[RunningStack] = []

    def make() -> RunningStack:
        # Not below pytest's folder, which PostgreSQL's user may not enter.
        folder = Path(tempfile.mkdtemp(prefix="cracks-stack-"))
        folder.chmod(0o711)
        made.append(RunningStack(Stack(folder), {name: free_port() for name in PORTS}))
        return made[-1]

    yield make
    for one in made:
        one.make("down")
        shutil.rmtree(one.place.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(new_stack: Callable[[], RunningStack]) -> RunningStack:
    running = new_stack()
    running.up()
    running.pause_schedules()
    return running


@dataclass(frozen=True)
class Training:
    """What the worker of the stack has trained and promoted, in a clone."""

    workspace: Path
    flow_run: Facts
    #: Where processes listened while it ran.
    listening: frozenset[tuple[str, int]]
    #: One photograph of each label, by the label that is to be answered.
    photographs: Mapping[str, bytes]


@pytest.fixture(scope="session")
def photographs() -> dict[str, bytes]:
    """One real photograph of each label, by the label that is to be answered."""
    folders = {"no crack": "Negative/", "crack": "Positive/"}
    with zipfile.ZipFile(shared_file(PHOTOGRAPHS)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        return {
            label: archive.read(next(name for name in names if folder in name))
            for label, folder in folders.items()
        }


@pytest.fixture(scope="session")
def trained(
    stack: RunningStack,
    photographs: Mapping[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Training:
    """The champion of the stack, trained by its worker on 2,000 real photographs."""
    archive, weights = shared_file(PHOTOGRAPHS), shared_file(WEIGHTS)
    stack.up()  # another test may have damaged it
    workspace = clone_working_tree(tmp_path_factory.mktemp("workspace"))
    settings = [
        f"ingest.source={archive}",
        "featurize.architecture=mobilenetv2",
        f"featurize.weights={weights}",
        "featurize.image_size=160",
        "train.epochs=20",
        "train.learning_rate=0.01",
        *LITTLE_EVALUATION,
    ]
    set_params(workspace / "params.yaml", settings)
    seen: set[tuple[str, int]] = set()
    run = stack.begin_training(workspace)
    ended = stack.wait_for(run, lambda: seen.update(stack.listening()))
    assert ended["state"]["type"] == "COMPLETED", ended["state"]["message"]
    return Training(workspace, ended, frozenset(seen), photographs)
