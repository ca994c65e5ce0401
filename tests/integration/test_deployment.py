"""prefect.yaml on a real server: the schedule fires, and a worker can run the flow by it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import TOOLS, clone_working_tree, environment, wait_until
from servers import PrefectServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def checkout(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = clone_working_tree(tmp_path_factory.mktemp("checkout"))
    _prefect(prefect_server, folder, "work-pool", "create", "cracks", "--type", "process")
    _prefect(prefect_server, folder, "--no-prompt", "deploy", "--all")
    return folder


def _prefect(server: PrefectServer, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [TOOLS / "prefect", *arguments],
        cwd=folder,
        env=environment(**server.variables, PWD=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_nightly_training_is_scheduled(prefect_server: PrefectServer, checkout: Path) -> None:
    response = httpx.get(f"{prefect_server.url}/deployments/name/training/training")
    deployment = response.raise_for_status().json()
    assert [schedule["schedule"]["cron"] for schedule in deployment["schedules"]] == ["0 3 * * *"]
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"

    def scheduled() -> list[str]:
        runs = prefect_server.find("flow_runs", deployments={"id": {"any_": [deployment["id"]]}})
        return [run["expected_start_time"] for run in runs if run["auto_scheduled"]]

    # With sqlalchemy 2.1 schedules silently never fire.
    times = wait_until(scheduled, "a scheduled run", timeout=60)
    assert all("T03:00:00" in time for time in times)


def test_a_worker_runs_the_flow_and_reports_its_refusal_in_one_line(
    prefect_server: PrefectServer, checkout: Path, tmp_path: Path
) -> None:
    run = ("deployment", "run", "training/training", "-p", f"workspace={tmp_path}")
    _prefect(prefect_server, checkout, *run)
    _prefect(prefect_server, checkout, "worker", "start", "--pool", "cracks", "--run-once")

    def ended() -> list[dict[str, Any]]:
        runs = prefect_server.find("flow_runs", flow_runs={"state": {"type": {"any_": ["FAILED"]}}})
        return [run for run in runs if run["parameters"].get("workspace") == str(tmp_path)]

    (failed,) = wait_until(ended, "the end of the flow run", timeout=60)
    message = str(failed["state"]["message"])
    assert message.startswith(f"{tmp_path} is no workspace")
    assert "\n" not in message
