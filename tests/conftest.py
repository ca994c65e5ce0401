"""Fixtures that start real processes, and the end of each of them whatever becomes of the test."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from processes import RunningProcess, StartProcess
from s3 import S3Proxy, S3Server, rclone, use_s3
from servers import MlflowServers, PostgresqlServer, PrefectServer, postgresql

from cracks.system.environment import apply_environment_defaults

pytest_plugins = ["costs"]

_running: list[RunningProcess] = []


def pytest_configure() -> None:
    """Set up the tools as every entry point does, before the first test file imports one.

    TensorFlow reads once which kernels it is to use; two processes with others end with other
    weights.
    """
    apply_environment_defaults()
    # Whether a rule holds must not depend on how busy the machine is.
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProcess]:
    yield from _starting(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProcess]:
    yield from _starting(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="session")
def start_for_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProcess]:
    yield from _starting(tmp_path_factory.mktemp("processes"))


def _starting(logs: Path) -> Iterator[StartProcess]:
    numbers = itertools.count()
    with ExitStack() as stack:

        def started(
            command: Sequence[str | Path],
            *,
            variables: Mapping[str, str] | None = None,
            cwd: Path | None = None,
            name: str = "",
        ) -> RunningProcess:
            folder = logs / str(next(numbers))
            process = RunningProcess(command, folder, variables=variables, cwd=cwd, name=name)
            _running.append(process)
            stack.callback(_running.remove, process)
            stack.callback(process.end)
            return process

        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show for a failed test what the processes said."""
    report = yield
    if report.failed:
        report.sections += [(f"process {one.name}", one.log) for one in _running]
    return report


@pytest.fixture(scope="session")
def prefect_server(
    start_for_session: StartProcess, tmp_path_factory: pytest.TempPathFactory
) -> PrefectServer:
    return PrefectServer.start(start_for_session, tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def postgresql_server(start_for_session: StartProcess) -> Iterator[PostgresqlServer]:
    with postgresql(start_for_session) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_servers(
    request: pytest.FixtureRequest,
    start_for_session: StartProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> MlflowServers:
    """Real tracking servers, `mlflow_servers("sqlite")` and `mlflow_servers("postgresql")`."""

    def postgresql_server() -> PostgresqlServer:
        found: PostgresqlServer = request.getfixturevalue("postgresql_server")
        return found

    return MlflowServers(start_for_session, tmp_path_factory.mktemp, postgresql_server)


@pytest.fixture(scope="session")
def mlflow_server(mlflow_servers: MlflowServers) -> str:
    """The address of a real tracking server."""
    return mlflow_servers("sqlite")


@pytest.fixture(scope="session")
def s3_server(
    start_for_session: StartProcess, tmp_path_factory: pytest.TempPathFactory
) -> S3Server:
    if not rclone().is_file():
        pytest.skip(f"no S3 endpoint: {rclone()} is absent; `make setup` installs it")
    return S3Server.start(start_for_session, tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="session")
def quick_boto3() -> Iterator[None]:
    """Read what boto3 knows of S3 once, and not again for every client of every test."""
    import botocore.session

    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(botocore.session.create_loader)
        patch.setattr(botocore.session, "create_loader", once)
        yield


@pytest.fixture
def s3_proxy(
    s3_server: S3Server, quick_boto3: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Proxy]:
    """Stands before the S3 server; boto3 finds it and nothing else."""
    with S3Proxy(s3_server.url) as proxy:
        use_s3(s3_server.variables | {"AWS_ENDPOINT_URL": proxy.url}, monkeypatch)
        yield proxy
