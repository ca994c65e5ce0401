"""The part `flows`: how soon a scheduled training with nothing new has ended, with servers up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.measurements import Measure, Row, measured
from benchmarks.photographs import Photographs
from benchmarks.scratch import TOOLS, MeasurementFailed, Scratch, free_port
from benchmarks.workspaces import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

#: Drawn photographs that are trained on first, how often is then asked again, and how soon.
PATCHES, REPETITIONS, LIMIT = 300, 5, 10

#: Seconds that a server has to start, and a training has to end.
STARTED_WITHIN, TRAINED_WITHIN = 120.0, 900.0


def measures(_: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name; all of it on what is drawn."""
    return {"flows.nothing_new": lambda: nothing_new(scratch)}


def nothing_new(scratch: Scratch) -> Iterator[Row]:
    """Time runs of the deployment `training` by a worker, for which there is nothing to do."""
    # Only this part talks to Prefect.
    from prefect.client.orchestration import SyncPrefectClient

    assignments = [f"ingest.sample.patches={PATCHES}", "train.epochs=1", "register.limits={}"]
    root = Workspace(scratch, "flows", Path("sample"), assignments).paths.root
    _commit(scratch, root)
    with ExitStack() as stack:
        variables = _servers(scratch, stack, root)
        worker = [TOOLS / "prefect", "worker", "start", "--pool", "cracks"]
        scratch.run([TOOLS / "python", "-m", "infra.deployment"], root, **variables)
        output = scratch.temporary / "worker"
        stack.enter_context(scratch.started(worker, output, root, **variables))
        # It asks again where the server's database was locked.
        client = stack.enter_context(SyncPrefectClient(variables["PREFECT_API_URL"]))
        scratch.tell("flows: the first training")
        _train(client, root)
        scratch.tell("flows: trainings with nothing new")
        runs = [_train(client, root) for _ in range(REPETITIONS)]
    note = (
        f"a run of the deployment in a process of a worker, every stage up to date, MLflow and "
        f"Prefect on sqlite as servers on this machine; limit {LIMIT} s"
    )
    own = [_seconds(run.start_time, run.end_time) for run in runs]
    yield measured("flows.nothing_new_s", own, "s", f"{note}; as Prefect reports it")
    whole = [_seconds(run.created, run.end_time) for run in runs]
    note = "from the order to the end, with the worker's look for work and the start of a process"
    yield measured("flows.nothing_new_ordered_s", whole, "s", note)


def _commit(scratch: Scratch, root: Path) -> None:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    scratch.run(["git", "init", "--quiet"], root)
    scratch.run(["git", "add", "."], root)
    scratch.run(["git", *identity, "commit", "--quiet", "-m", "as it stands"], root)


def _servers(scratch: Scratch, stack: ExitStack, root: Path) -> dict[str, str]:
    """Start MLflow's and Prefect's server; return what a client of both needs."""
    ports = {name: free_port() for name in ("mlflow", "prefect")}
    commands: dict[str, list[str | Path]] = {
        "mlflow": [
            *(TOOLS / "mlflow", "server", "--workers", "1", "--port", str(ports["mlflow"])),
            *("--backend-store-uri", f"sqlite:///{scratch.place / 'mlflow.db'}"),
            *("--artifacts-destination", scratch.place / "artifacts"),
        ],
        "prefect": [TOOLS / "prefect", "server", "start", "--port", str(ports["prefect"])],
    }
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    settings = {
        "PREFECT_HOME": str(scratch.place / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for name, command in commands.items():
        output = scratch.temporary / name
        stack.enter_context(scratch.started(command, output, root, **settings))
    for path in (f"{urls['mlflow']}/health", f"{urls['prefect']}/api/health"):
        _wait(lambda path=path: _answers(path), path, STARTED_WITHIN)  # type: ignore[misc]
    settings["PREFECT_HOME"] += "-client"
    return settings | {
        "MLFLOW_TRACKING_URI": urls["mlflow"],
        "PREFECT_API_URL": f"{urls['prefect']}/api",
    }


def _train(client: SyncPrefectClient, root: Path) -> FlowRun:
    """Order a training, and return its run when it is completed."""
    deployment = client.read_deployment_by_name("training/training")
    order = client.create_flow_run_from_deployment(
        deployment.id, parameters={"workspace": str(root)}
    )

    def ended() -> FlowRun | None:
        run = client.read_flow_run(order.id)
        return run if run.state and run.state.is_final() else None

    run: FlowRun = _wait(ended, "the end of a training", TRAINED_WITHIN)
    if not run.state or not run.state.is_completed():
        raise MeasurementFailed(f"a training ended {run.state_name}: {run.state}")
    return run


def _wait(condition: Callable[[], Any], what: str, within: float) -> Any:
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"waited {within:.0f} s in vain for {what}")
        time.sleep(0.2)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _seconds(start: datetime | None, end: datetime | None) -> float:
    if start is None or end is None:
        raise MeasurementFailed("Prefect does not say when a training began and ended")
    return (end - start).total_seconds()
