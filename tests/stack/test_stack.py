"""`make up` for real: six services on this machine, and what happens if one of them dies."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest
from processes import CHECKOUT, free_port, wait_until
from ruamel.yaml import YAML

from infra.stack.leftovers import processes
from infra.stack.settings import PORTS, write_env
from tests.stack.conftest import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

#: Seconds until a service must be back, on a machine that does much else.
BACK_TIMEOUT = 240


def test_every_service_is_healthy_and_says_where(stack: RunningStack) -> None:
    shown = stack.status()
    assert list(shown) == list(PORTS)
    assert stack.unhealthy() == {}
    for name, one in shown.items():
        assert one["address"].endswith(f":{stack.ports[name]}")
        assert psutil.pid_exists(one["pid"])
        assert Path(one["log"]).is_file()


def test_a_second_make_up_changes_nothing(stack: RunningStack) -> None:
    before = stack.status()
    files = (stack.place.secrets, stack.place.ports, stack.place.client, stack.place.supervisor)
    contents = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    assert "up already" in stack.up()
    assert {name: one["pid"] for name, one in stack.status().items()} == {
        name: one["pid"] for name, one in before.items()
    }
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files} == contents


def test_a_changed_port_moves_that_service_and_leaves_the_others_alone(
    stack: RunningStack,
) -> None:
    before = stack.status()
    moved = replace(stack, ports={**stack.ports, "serving": free_port()})
    moved.up()
    after = moved.status()
    assert moved.unhealthy() == {}
    assert after["serving"]["address"] == moved.url("serving")
    changed = {name for name in PORTS if after[name]["pid"] != before[name]["pid"]}
    assert changed == {"serving"}
    stack.up()
    assert stack.status()["serving"]["address"] == stack.url("serving")


def test_who_has_no_credentials_is_refused(stack: RunningStack) -> None:
    search = f"{stack.url('mlflow')}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert httpx.get(search).status_code == 401
    assert httpx.get(search, auth=("admin", "wrong")).status_code == 401
    flows = f"{stack.url('prefect')}/api/flows/filter"
    assert httpx.post(flows, json={}).status_code == 401
    assert httpx.get(f"{stack.url('s3')}/mlflow").status_code in (400, 403)
    assert httpx.get(f"{stack.url('serving')}/openapi.json").status_code == 401
    for user in ("postgres", "mlflow", "prefect"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            _connect(stack, user, "wrong")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        _connect(stack, "mlflow", stack.secrets["CRACKS_MLFLOW_DB_PASSWORD"], "prefect")


def test_a_key_that_somebody_has_learnt_is_replaced_without_a_restart(stack: RunningStack) -> None:
    before, serving = stack.client["CRACKS_SERVICE_KEY"], stack.status()["serving"]["pid"]
    kept = stack.secrets
    del kept["CRACKS_SERVICE_KEY"]
    write_env(stack.place.secrets, kept, "without the key of the service")
    stack.up()
    address = f"{stack.url('serving')}/openapi.json"
    opened = [
        httpx.get(address, headers={"X-API-Key": key}).status_code
        for key in (before, stack.client["CRACKS_SERVICE_KEY"])
    ]
    assert opened == [401, 200]
    assert stack.status()["serving"]["pid"] == serving


def _connect(stack: RunningStack, user: str, password: str, database: str = "postgres") -> None:
    psycopg2.connect(
        host="127.0.0.1",
        port=stack.ports["postgresql"],
        user=user,
        password=password,
        dbname=database,
    ).close()


def test_what_prefect_yaml_says_is_deployed(stack: RunningStack) -> None:
    described = YAML(typ="safe").load(CHECKOUT / "prefect.yaml")["deployments"]
    deployed = stack.prefect("POST", "/deployments/filter", {})
    assert {one["name"] for one in deployed} == {one["name"] for one in described}
    assert stack.place.deployed.is_file()


def test_a_taken_port_is_refused_by_name(new_stack: Callable[[], RunningStack]) -> None:
    stack = new_stack()
    with socket.create_server(("127.0.0.1", stack.ports["prefect"])):
        refused = stack.make("up")
    assert refused.returncode == 1
    port, owner = stack.ports["prefect"], psutil.Process().name()
    taken = f"error: Port {port}, which prefect wants, is taken by {owner} (process {os.getpid()})."
    assert refused.stderr.startswith(taken)
    assert "make up CRACKS_PREFECT_PORT=" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert processes(stack.place) == []


def test_ctrl_c_while_it_starts_leaves_nothing_half_started(
    new_stack: Callable[[], RunningStack],
) -> None:
    stack = new_stack()
    starting = stack.begin("up")
    said = ""
    for line in starting.stdout or ():
        said += line
        if line.startswith("databases"):  # now MLflow and Prefect are on their way
            break
    starting.send_signal(signal.SIGINT)
    output, error = starting.communicate(timeout=120)
    assert starting.returncode == 130, said + output + error
    assert error == "Interrupted.\n"
    assert processes(stack.place) == []


@pytest.fixture(scope="module")
def kept(stack: RunningStack) -> None:
    """Something in each place that must outlive every part."""
    made = {"name": "kept", "tags": [{"key": "why", "value": "to be found again"}]}
    stack.mlflow("POST", "/api/2.0/mlflow/experiments/create", json=made)
    artifact = "/api/2.0/mlflow-artifacts/artifacts/kept/note.txt"
    stack.mlflow("PUT", artifact, content=b"to be found again")
    stack.prefect("POST", "/variables/", {"name": "kept", "value": "to be found again"})


def _is_kept(stack: RunningStack) -> bool:
    search = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept"
    experiment = stack.mlflow("GET", search).json()["experiment"]
    artifact = stack.mlflow("GET", "/api/2.0/mlflow-artifacts/artifacts/kept/note.txt")
    variable = stack.prefect("GET", "/variables/name/kept")
    found = (experiment["tags"][0]["value"], artifact.text, variable["value"])
    return set(found) == {"to be found again"}


@pytest.mark.parametrize("name", list(PORTS))
def test_a_killed_service_comes_back_and_has_lost_nothing(
    stack: RunningStack, kept: None, name: str
) -> None:
    killed = stack.status()[name]["pid"]
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        return stack.unhealthy() == {} and stack.status()[name]["pid"] != killed

    wait_until(is_back, f"{name}, killed", timeout=BACK_TIMEOUT, interval=0.5)
    assert _is_kept(stack)


def test_make_up_fixes_a_stack_whose_supervisor_was_killed(stack: RunningStack, kept: None) -> None:
    before = stack.status()
    supervisor = int((stack.place.folder / "supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(supervisor), "the end of the supervisor")
    done = stack.make("status")
    assert done.returncode == 1
    assert "nobody watches it" in done.stdout
    stack.up()
    assert stack.unhealthy() == {}
    assert not {one["pid"] for one in before.values()} & set(psutil.pids())
    assert _is_kept(stack)
