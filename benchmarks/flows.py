"""The part `flows`: how soon a scheduled training with nothing new has ended, with servers up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measurements import Measure, Row, measured
from benchmarks.photographs import Photographs
from benchmarks.scratch import MeasurementFailed, Scratch, Started, free_port, tool
from benchmarks.workspaces import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

#: Drawn photographs that are trained on first, how often it then runs again, and its limit in s.
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
    workspace = Workspace(scratch, "flows", Path("sample"), assignments)
    workspace.commit()
    root = workspace.paths.root
    with ExitStack() as stack:
        variables = _servers(scratch, stack, root)
        scratch.run_module("infra.deployment", cwd=root, **variables)
        command = tool("prefect", "worker", "start", "--pool", "cracks")
        worker = stack.enter_context(scratch.started("worker", command, root, **variables))
        # It tries again where the server's database was locked.
        client = stack.enter_context(SyncPrefectClient(variables["PREFECT_API_URL"]))
        scratch.tell("flows: the first training")
        _train(client, worker, root)
        scratch.tell("flows: trainings with nothing new")
        runs = [_train(client, worker, root) for _ in range(REPETITIONS)]
    note = (
        f"a run of the deployment in a process of a worker, every stage up to date, MLflow and "
        f"Prefect on sqlite as servers on this machine; limit {LIMIT} s"
    )
    own = [_seconds(run.start_time, run.end_time) for run in runs]
    yield measured("flows.nothing_new_s", own, "s", f"{note}; as Prefect reports it")
    whole = [_seconds(run.created, run.end_time) for run in runs]
    note = "from the order to the end, with the worker's poll and the start of a process"
    yield measured("flows.nothing_new_ordered_s", whole, "s", note)


def _servers(scratch: Scratch, stack: ExitStack, root: Path) -> dict[str, str]:
    """Start MLflow's and Prefect's server; return what a client of both needs."""
    ports = {name: free_port() for name in ("mlflow", "prefect")}
    commands = {
        "mlflow": tool(
            "mlflow",
            *("server", "--workers", 1, "--port", ports["mlflow"]),
            *("--backend-store-uri", f"sqlite:///{scratch.place / 'mlflow.db'}"),
            *("--artifacts-destination", scratch.place / "artifacts"),
        ),
        "prefect": tool("prefect", "server", "start", "--port", ports["prefect"]),
    }
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    settings = {
        "PREFECT_HOME": str(scratch.place / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    paths = {"mlflow": "/health", "prefect": "/api/health"}
    servers = {
        name: stack.enter_context(scratch.started(name, command, root, **settings))
        for name, command in commands.items()
    }
    for name, server in servers.items():
        server.wait_until_up(urls[name] + paths[name], STARTED_WITHIN)
    settings["PREFECT_HOME"] += "-client"
    return settings | {
        "MLFLOW_TRACKING_URI": urls["mlflow"],
        "PREFECT_API_URL": f"{urls['prefect']}/api",
    }


def _train(client: SyncPrefectClient, worker: Started, root: Path) -> FlowRun:
    """Order a training, and return its run when the worker has completed it."""
    deployment = client.read_deployment_by_name("training/training")
    order = client.create_flow_run_from_deployment(
        deployment.id, parameters={"workspace": str(root)}
    )

    def ended(_: str) -> FlowRun | None:
        run = client.read_flow_run(order.id)
        return run if run.state and run.state.is_final() else None

    run = worker.wait_until(ended, "the end of a training", TRAINED_WITHIN)
    if not run.state or not run.state.is_completed():
        raise MeasurementFailed(f"a training ended {run.state_name}: {run.state}")
    return run


def _seconds(start: datetime | None, end: datetime | None) -> float:
    if start is None or end is None:
        raise MeasurementFailed("Prefect does not say when a training began and ended")
    return (end - start).total_seconds()
