"""prefect.yaml and what belongs to it on a real server, with a worker: deployed, paused, killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from processes import (
    TOOLS,
    RunningProcess,
    StartProcess,
    clone_working_tree,
    environment,
    wait_until,
)
from receivers import SLACK_URL, MailServer, Receiver
from servers import PostgresqlServer, PrefectServer

from flows.monitoring import EVENT
from flows.starts import DIED
from tests.integration.flows.refusing import REFUSAL, refusing_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = "/deployments/name/training/training"
MONITORING = "/deployments/name/monitoring/monitoring"

#: Seconds without a heartbeat after which a run is dead here; Prefect sends one in 30 s at most.
SILENCE = 40

#: The first stage begins and never ends; started again, it refuses.
STUCK = """
import pathlib, time
began = pathlib.Path("began")
if not began.exists():
    began.touch()
    time.sleep(300)
"""

ASK_TWICE = """
from pathlib import Path
from flows.approval import request_approval

report = {"version": "4", "verdict": "undecided", "reasons": ["few photographs"], "run_id": "0af3"}
for _ in range(2):
    print(request_approval(Path(), report, hours=1), flush=True)
"""


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path_factory.mktemp("receiver"))
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def mail_server(start_for_module: StartProcess) -> MailServer:
    return MailServer(start_for_module)


@pytest.fixture(scope="module")
def server(
    start_for_module: StartProcess,
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_server: PostgresqlServer,
    receiver: Receiver,
) -> PrefectServer:
    """A server on PostgreSQL, as in the stack: on SQLite events are lost where it is locked."""
    database = postgresql_server.new_database("prefect")
    postgresql_server.execute("CREATE EXTENSION pg_trgm", "prefect")
    return PrefectServer.start(
        start_for_module,
        tmp_path_factory.mktemp("prefect"),
        PREFECT_API_DATABASE_CONNECTION_URL=database.replace("://", "+asyncpg://"),
        PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="prefect.server.concurrency.lease_storage.filesystem",
        PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="1",
        **receiver.variables,
    )


@pytest.fixture(scope="module")
def checkout(
    server: PrefectServer,
    receiver: Receiver,
    mail_server: MailServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = clone_working_tree(tmp_path_factory.mktemp("checkout"))
    deploy(
        server,
        folder,
        CRACKS_NOTIFY_WEBHOOK_URL=receiver.url,
        CRACKS_NOTIFY_SLACK_URL=SLACK_URL,
        CRACKS_NOTIFY_MAIL_URL=mail_server.url,
    )
    return folder


def deploy(server: PrefectServer, folder: Path, **variables: str) -> None:
    """Do what `make deploy` does."""
    silence = {"CRACKS_RUN_SILENCE_SECONDS": str(SILENCE)}
    done = subprocess.run(
        [sys.executable, "-m", "infra.deployment"],
        cwd=folder,
        env=environment(**server.variables, **silence, **variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def start_worker(server: PrefectServer, start: StartProcess, *options: str) -> RunningProcess:
    return start(
        [TOOLS / "prefect", "worker", "start", "--pool", "cracks", *options],
        variables=server.variables | {"PREFECT_WORKER_QUERY_SECONDS": "2"},
        name="worker",
    )


def order(server: PrefectServer, **parameters: Any) -> str:
    """Ask for a training as the UI does; return the id of its run."""
    deployment = server.ask("GET", TRAINING)
    path = f"/deployments/{deployment['id']}/create_flow_run"
    return str(server.ask("POST", path, {"parameters": parameters})["id"])


def end_of(server: PrefectServer, run_id: str, timeout: float = 300) -> dict[str, Any]:
    """Return a run when it has ended, one way or another."""

    def ended() -> dict[str, Any] | None:
        run = server.flow_run(run_id)
        return run if run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED") else None

    run = wait_until(ended, "the end of the flow run", timeout=timeout, interval=0.2)
    assert run is not None
    return run


# --- what is deployed -----------------------------------------------------------------------------


def test_the_nightly_training_is_scheduled(server: PrefectServer, checkout: Path) -> None:
    deployment = server.ask("GET", TRAINING)
    (schedule,) = deployment["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 3 * * *", True)
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    # With sqlalchemy 2.1 schedules silently never fire.
    times = wait_until(lambda: scheduled(server), "a scheduled run", timeout=60)
    assert all("T03:00:00" in time for time in times)


def scheduled(server: PrefectServer) -> list[str]:
    deployment = server.ask("GET", TRAINING)
    runs = server.find("flow_runs", deployments={"id": {"any_": [deployment["id"]]}})
    return [run["expected_start_time"] for run in runs if run["auto_scheduled"]]


@pytest.mark.parametrize("name", ["training/training", "scoring/scoring", "approval/approval"])
def test_the_form_for_a_run_explains_every_parameter(
    server: PrefectServer, checkout: Path, name: str
) -> None:
    schema = server.ask("GET", f"/deployments/name/{name}")["parameter_openapi_schema"]
    for parameter, said in schema["properties"].items():
        assert said["type"], parameter
        assert len(said["description"]) > 20, parameter


def test_a_parameter_out_of_bounds_is_refused_when_it_is_asked_for(
    server: PrefectServer, checkout: Path
) -> None:
    for bad in ({"approval_hours": -1}, {"approval_hours": 1000}, {"workspace": ""}):
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            order(server, **bad)


def test_what_somebody_paused_stays_paused_after_a_redeploy_and_nothing_is_doubled(
    server: PrefectServer, checkout: Path
) -> None:
    deployment = server.ask("GET", TRAINING)
    (schedule,) = deployment["schedules"]
    monitoring = f"/deployments/{server.ask('GET', MONITORING)['id']}"
    place = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
    told = named(server, "people are told")
    server.ask("PATCH", place, {"active": False})
    server.ask("PATCH", monitoring, {"paused": True})
    server.ask("PATCH", f"/automations/{told['id']}", {"enabled": False})
    automations = server.find("automations")

    deploy(server, checkout)  # by somebody who does not know the addresses of the channels
    after = server.ask("GET", TRAINING)
    assert [(one["id"], one["active"]) for one in after["schedules"]] == [(schedule["id"], False)]
    assert after["updated"] > deployment["updated"]
    assert scheduled(server) == []
    assert server.ask("GET", MONITORING)["paused"]
    # Not even written: Prefect would forget the heartbeats that it waits for.
    assert server.find("automations") == automations
    assert len(named(server, "people are told")["actions"]) == 3
    server.ask("PATCH", place, {"active": True})
    server.ask("PATCH", monitoring, {"paused": False})
    server.ask("PATCH", f"/automations/{told['id']}", {"enabled": True})


def named(server: PrefectServer, part: str) -> dict[str, Any]:
    (automation,) = [one for one in server.find("automations") if part in one["name"]]
    return automation


def test_an_automation_that_differs_is_changed_in_its_place(
    server: PrefectServer, checkout: Path
) -> None:
    before = named(server, "without heartbeats")
    assert before["trigger"]["within"] == SILENCE
    longer = {key: before[key] for key in ("name", "tags", "enabled", "actions")}
    longer["trigger"] = before["trigger"] | {"within": 3 * SILENCE}
    server.ask("PUT", f"/automations/{before['id']}", longer)
    assert named(server, "without heartbeats")["trigger"]["within"] == 3 * SILENCE
    deploy(server, checkout)
    after = named(server, "without heartbeats")
    assert (after["id"], after["trigger"]["within"]) == (before["id"], SILENCE)


def test_runs_of_every_deployment_are_watched(server: PrefectServer, checkout: Path) -> None:
    deployments = {f"prefect.deployment.{one['id']}" for one in server.find("deployments")}
    for part in ("without heartbeats", "never began", "was cancelled", "started again"):
        related = named(server, part)["trigger"]["match_related"]
        assert set(related["prefect.resource.id"]) == deployments


def test_drift_starts_one_training_with_its_reason_as_the_cause(
    server: PrefectServer, checkout: Path
) -> None:
    deployment = server.ask("GET", TRAINING)
    reason = "feature drift, 2026-11-29 10:00"
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": "cracks.monitoring"},
        "payload": {"reason": reason},
    }
    server.ask("POST", "/events", [event, event])  # as after a lost reply

    def started() -> list[dict[str, Any]]:
        runs = server.find("flow_runs", deployments={"id": {"any_": [deployment["id"]]}})
        return [run for run in runs if run["parameters"].get("cause")]

    (run,) = wait_until(started, "the training that drift starts", timeout=60) or [{}]
    assert run["parameters"]["cause"] == reason
    server.ask("DELETE", f"/flow_runs/{run['id']}")


def test_a_person_is_asked_once_in_a_run_that_holds_no_slot_of_the_trainings(
    server: PrefectServer, checkout: Path, start: StartProcess
) -> None:
    asked = start([sys.executable, "-c", ASK_TWICE], variables=server.variables, cwd=checkout)
    assert asked.wait(60) == 0, asked.log
    deployment = server.ask("GET", "/deployments/name/approval/approval")
    assert deployment["global_concurrency_limit"] is None
    (run,) = server.find("flow_runs", deployments={"id": {"any_": [deployment["id"]]}})
    assert run["parameters"]["version"] == "4"
    assert (
        asked.stdout.splitlines()
        == [f"version 4 waits for a person in the run {run['name']} of approval/approval"] * 2
    )
    server.ask("DELETE", f"/flow_runs/{run['id']}")


# --- runs that fail, and runs that die ------------------------------------------------------------


def test_a_failing_run_says_one_line_and_everybody_is_told(
    server: PrefectServer,
    checkout: Path,
    start: StartProcess,
    receiver: Receiver,
    mail_server: MailServer,
    tmp_path: Path,
) -> None:
    run_id = order(server, workspace=str(tmp_path))
    start_worker(server, start, "--run-once")
    run = end_of(server, run_id)
    message = run["state"]["message"]
    assert message.startswith(f"{tmp_path} is no workspace")
    assert "\n" not in message

    def told() -> tuple[list[Any], list[Any], list[str]]:
        return receiver.webhook(run_id), receiver.slack(run_id), mail_server.mails(run_id)

    wait_until(lambda: all(told()), "three notifications", timeout=90, interval=0.5)
    webhooks, slacks, mails = told()
    link = f"{server.url.removesuffix('/api')}/runs/flow-run/{run_id}"
    for webhook in webhooks:
        assert webhook == {"subject": "training: Failed", "body": f"{message}\n{link}"}
    for text in [*map(str, slacks), *mails]:
        assert "training: Failed" in text
        assert f"{tmp_path} is no workspace" in text
        assert link in text


def test_a_run_killed_with_its_worker_is_started_again_and_frees_its_slot(
    server: PrefectServer, checkout: Path, start: StartProcess, tmp_path: Path
) -> None:
    workspace = refusing_workspace(tmp_path / "workspace", first=STUCK)
    worker = start_worker(server, start)
    killed = order(server, workspace=str(workspace))
    worker.wait_until((workspace / "began").exists, "the first stage", timeout=240)
    queued = order(server, workspace=str(tmp_path))
    wait_until(lambda: heartbeats(server, killed), "a sign of life", timeout=60)
    wait_until(
        lambda: any("[1/9] ingest" in line for line in server.logs(killed)),
        "what the run says, in its log",
        timeout=60,
    )
    wait_until(
        lambda: server.flow_run(queued)["state_name"] == "AwaitingConcurrencySlot",
        "the second training to queue",
        timeout=60,
    )
    for process in [
        *psutil.Process(worker.pid).children(recursive=True),
        psutil.Process(worker.pid),
    ]:
        process.kill()

    start_worker(server, start)
    # Started again it came to its own refusal, and the next one had its turn.
    assert end_of(server, killed)["state"]["message"] == REFUSAL
    assert "is no workspace" in end_of(server, queued)["state"]["message"]
    states = server.ask("GET", f"/flow_run_states/?flow_run_id={killed}")
    told = [(state["name"], state["message"]) for state in states]
    assert [name for name, _ in told].count("Running") == 2
    assert {message for name, message in told if name == "Crashed"} == {DIED}
    limits = server.find("v2/concurrency_limits")  # of each deployment that has one
    assert {(limit["limit"], limit["active_slots"]) for limit in limits} == {(1, 0)}


def heartbeats(server: PrefectServer, run_id: str) -> int:
    wanted = {
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run_id}"]},
    }
    return int(server.ask("POST", "/events/filter", {"filter": wanted})["total"])
