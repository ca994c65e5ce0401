"""What a stack is made with: ports and secrets in files, and no command line that tells one."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from infra.stack.services import Description, describe
from infra.stack.settings import (
    PORTS,
    SECRETS,
    Stack,
    StackError,
    choose_ports,
    keep_secrets,
    open_stack,
    read_env,
    read_others,
    read_ports,
    write_env,
)
from tests.unit.builders import ROOT


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_secrets_are_made_once_and_are_for_the_owner_only(stack: Stack) -> None:
    made = keep_secrets(stack)
    assert set(made) == set(SECRETS)
    assert len(set(made.values())) == len(SECRETS)
    assert stat.S_IMODE(stack.secrets.stat().st_mode) == 0o600
    stack.secrets.chmod(0o644)  # an editor may do that
    assert keep_secrets(stack) == made
    assert stat.S_IMODE(stack.secrets.stat().st_mode) == 0o600


def test_a_new_kind_of_secret_is_added_to_those_that_there_are(stack: Stack) -> None:
    write_env(stack.secrets, {SECRETS[0]: "of-before"}, "as an earlier release left it")
    assert keep_secrets(stack)[SECRETS[0]] == "of-before"
    assert set(read_env(stack.secrets)) == set(SECRETS)


def test_lost_secrets_are_not_replaced_where_databases_need_them(stack: Stack) -> None:
    stack.databases.mkdir()
    with pytest.raises(StackError, match="Bring it back from a back-up"):
        keep_secrets(stack)
    assert not stack.secrets.exists()


def test_a_port_of_the_environment_is_kept_and_the_rest_of_the_file_stays(stack: Stack) -> None:
    assert choose_ports(stack, {}) == PORTS
    write_env(stack.ports, {"CRACKS_MENDELEY_URL": "https://mirror", "CRACKS_S3_PORT": "9001"}, "")
    chosen = choose_ports(stack, {"CRACKS_MLFLOW_PORT": "5001"})
    assert chosen == PORTS | {"mlflow": 5001, "s3": 9001}
    assert read_ports(stack) == chosen
    assert read_others(stack) == {"CRACKS_MENDELEY_URL": "https://mirror"}


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "5 000"])
def test_what_is_no_port_is_refused_by_name_and_not_kept(stack: Stack, port: str) -> None:
    with pytest.raises(StackError, match=r"CRACKS_PREFECT_PORT=.* is no port"):
        choose_ports(stack, {"CRACKS_PREFECT_PORT": port})
    assert read_ports(stack) == PORTS


def test_two_services_cannot_have_one_port(stack: Stack) -> None:
    with pytest.raises(StackError, match="mlflow and prefect both have port 4200"):
        choose_ports(stack, {"CRACKS_MLFLOW_PORT": "4200"})


def test_a_folder_whose_path_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="CRACKS_STACK_DIR"):
        open_stack({"CRACKS_STACK_DIR": str(tmp_path / ("deep/" * 20))})


def test_a_quotation_mark_that_is_not_closed_is_refused_by_name(stack: Stack) -> None:
    stack.ports.write_text('CRACKS_MENDELEY_URL="https://mirror\n')
    with pytest.raises(StackError, match="CRACKS_MENDELEY_URL"):
        read_others(stack)


# --- what compose.yaml describes, on this machine ------------------------------------------------


@pytest.fixture
def described(stack: Stack) -> Description:
    keep_secrets(stack)
    write_env(stack.ports, {"CRACKS_MLFLOW_PORT": "5001", "CRACKS_GIT_BRANCH": "next"}, "")
    return describe(stack)


def test_a_service_runs_with_the_ports_folders_and_variables_of_the_stack(
    stack: Stack, described: Description
) -> None:
    assert list(described.services) == list(PORTS)
    mlflow, worker = described.services["mlflow"], described.services["worker"]
    assert mlflow.command[-5:-1] == ("127.0.0.1", "--port", "5001", "--artifacts-destination")
    assert mlflow.environment["PGHOST"] == "127.0.0.1"
    assert mlflow.environment["PGPORT"] == "5433"
    assert mlflow.environment["PGUSER"] == "mlflow"
    assert mlflow.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"  # of mlflow/server.env
    assert mlflow.environment["MLFLOW_AUTH_CONFIG_PATH"] == str(ROOT / "mlflow/basic_auth.ini")
    assert mlflow.check[-3].startswith(f"{mlflow.address}/api/")
    assert worker.environment["MLFLOW_TRACKING_URI"] == mlflow.address == "http://127.0.0.1:5001"
    assert worker.environment["CRACKS_SERVICE_DIR"] == str(stack.service)
    assert worker.environment["CRACKS_GIT_BRANCH"] == "next"
    assert (worker.stop_signal, worker.stop_seconds, mlflow.start_seconds) == ("TERM", 45, 300)
    assert str(stack.databases) in described.services["postgresql"].command
    assert described.services["s3"].command[-1] == str(stack.storage)


def test_nothing_that_only_a_container_has_is_left_and_nothing_listens_for_others(
    described: Description,
) -> None:
    for part in described.parts([]).values():
        for value in (*part.command, *part.environment.values()):
            assert not re.search(r"\$|0\.0\.0\.0|/srv/|/opt/|/var/(lib|run)/", value), part.name


def test_no_command_line_tells_a_secret(stack: Stack, described: Description) -> None:
    secrets = read_env(stack.secrets).values()
    for part in described.parts([]).values():
        assert not [secret for secret in secrets if secret in " ".join(part.command)], part.name


@pytest.mark.parametrize(
    ("named", "parts"),
    [
        (["postgresql"], {"postgresql", "databases"}),
        (["s3"], {"s3", "buckets"}),
        (["serving"], {"serving", "keys"}),
        (["mlflow"], {"postgresql", "databases", "s3", "buckets", "mlflow"}),
        (["worker"], {*PORTS, "databases", "buckets", "deployments"} - {"serving"}),
    ],
)
def test_a_service_that_is_wanted_alone_brings_what_it_needs_and_no_more(
    described: Description, named: list[str], parts: set[str]
) -> None:
    assert set(described.parts(named)) == parts


def test_only_who_asks_the_service_has_its_key(stack: Stack, described: Description) -> None:
    key = read_env(stack.secrets)["CRACKS_SERVICE_KEY"]
    assert described.client["CRACKS_SERVICE_KEY"] == key
    for service in described.services.values():
        assert key not in service.environment.values(), service.name
