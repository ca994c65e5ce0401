"""One real Prefect server: the flow `training` ends as a person can read it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from processes import RunningProcess, StartProcess, free_port, wait_until
from servers import PrefectServer

from cracks.inference.handover.training_summaries import read_runs
from tests.integration.flows.refusing import REFUSAL, refusing_workspace
from tests.integration.versioning.locks import OTHER_DVC, OTHER_RUN, hold

RUN_TRAINING = """
import sys
from cracks.system.environment import apply_environment_defaults
apply_environment_defaults()
from flows.training import training
print(training(sys.argv[1], return_state=True).state_details.flow_run_id, flush=True)
"""

SHOW_PROGRESS = """
import time
from cracks.system.environment import apply_environment_defaults
apply_environment_defaults()
from prefect import flow
from prefect.runtime import flow_run
from flows.artifacts import ShownProgress

@flow
def show() -> None:
    start = time.monotonic()
    bar = ShownProgress("work", "Work")
    bar.show(0.2)
    print(flow_run.id, time.monotonic() - start, flush=True)
    bar.end(0.6)

show()
"""


def begin_training(server: PrefectServer, start: StartProcess, workspace: Path) -> RunningProcess:
    return start(
        [sys.executable, "-c", RUN_TRAINING, workspace],
        variables=server.variables,
        cwd=workspace.parent,
        name="training",
    )


def end_of(training: RunningProcess) -> str:
    """Return the id of the flow run after it has ended."""
    assert training.wait(120) == 0, training.log
    return training.stdout.split()[-1]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return refusing_workspace(tmp_path / "workspace")


def test_a_stage_that_refuses_ends_the_flow_with_its_one_line_and_is_not_tried_again(
    prefect_server: PrefectServer, start: StartProcess, workspace: Path
) -> None:
    run_id = end_of(begin_training(prefect_server, start, workspace))
    run = prefect_server.flow_run(run_id)
    assert (run["state_type"], run["state"]["message"]) == ("FAILED", REFUSAL)
    (ingest,) = wait_until(lambda: prefect_server.task_runs(run_id), "the task run")
    assert ingest["name"].startswith("ingest")
    assert (ingest["state_type"], ingest["run_count"]) == ("FAILED", 1)
    logs = wait_until(lambda: prefect_server.logs(run_id), "the log of the run")
    assert not any("Traceback" in line for line in logs)
    # Its page and its row for the service tell the same.
    (page,) = prefect_server.find(
        "artifacts",
        artifacts={"flow_run_id": {"any_": [run_id]}, "key": {"any_": ["training-story"]}},
    )
    assert page["data"].startswith(f"# The run failed\n\n- {REFUSAL}\n")
    (told,) = read_runs(workspace / "service")
    assert (told.flow_run_id, told.outcome, told.reasons) == (run_id, "failed", [REFUSAL])
    assert (told.name, told.stages) == (run["name"], {"ingest": "failed"})


def test_the_ui_shows_how_far_work_has_come(
    prefect_server: PrefectServer, start: StartProcess
) -> None:
    process = start([sys.executable, "-c", SHOW_PROGRESS], variables=prefect_server.variables)
    assert process.wait(60) == 0, process.log
    run_id, seconds = process.stdout.split()
    assert float(seconds) < 0.5  # nobody waits for the server
    (bar,) = prefect_server.find("artifacts", artifacts={"flow_run_id": {"any_": [run_id]}})
    assert (bar["key"], bar["type"], float(bar["data"])) == ("work", "progress", 60)


def test_work_goes_on_without_a_server_to_tell_of_it(start: StartProcess) -> None:
    alone = SHOW_PROGRESS.replace("@flow\n", "").replace("flow_run.id", "'alone'")
    away = {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    process = start([sys.executable, "-c", alone], variables=away)
    assert process.wait(60) == 0, process.log
    assert "Traceback" not in process.stderr


def test_a_busy_workspace_is_told_of_and_tried_again_until_it_is_free(
    prefect_server: PrefectServer, start: StartProcess, workspace: Path
) -> None:
    other = hold(start, OTHER_DVC, workspace)
    training = begin_training(prefect_server, start, workspace)
    busy = f"Another dvc command runs in {workspace}. Wait until it ends. Trying again in a moment."
    training.wait_until(
        lambda: busy in told(prefect_server), "the report of a busy workspace", timeout=60
    )
    other.end()

    run_id = end_of(training)
    # Free again, the stage came to its own refusal.
    assert prefect_server.flow_run(run_id)["state"]["message"] == REFUSAL
    (ingest,) = wait_until(lambda: prefect_server.task_runs(run_id), "the task run")
    assert ingest["run_count"] >= 2
    assert busy in prefect_server.logs(run_id)


def told(server: PrefectServer) -> set[str]:
    return {line["message"] for line in server.find("logs", sort="TIMESTAMP_DESC")}


@pytest.mark.slow
def test_a_workspace_that_stays_busy_ends_the_flow_with_one_line(
    prefect_server: PrefectServer, start: StartProcess, workspace: Path
) -> None:
    hold(start, OTHER_RUN, workspace)
    run_id = end_of(begin_training(prefect_server, start, workspace))
    run = prefect_server.flow_run(run_id)
    assert (run["state_type"], run["state_name"]) == ("FAILED", "Failed")
    message = run["state"]["message"]
    assert message.startswith(f"Another run works in {workspace}")
    assert "\n" not in message
    logs = wait_until(lambda: prefect_server.logs(run_id), "the log of the run")
    assert not any("Traceback" in line for line in logs)
    assert prefect_server.task_runs(run_id) == []
