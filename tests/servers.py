"""Real servers of Prefect, MLflow and PostgreSQL, and what tests ask of them."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import TOOLS, StartProcess, free_port

from infra.stack.settings import StackError, postgresql_program

#: How often a server is asked that answers 503.
ATTEMPTS = 20


def is_healthy(url: str) -> bool:
    """Return whether a server answers 200 at `url`/health."""
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass(frozen=True)
class PrefectServer:
    url: str
    home: Path

    @classmethod
    def start(cls, start: StartProcess, place: Path, **settings: str) -> PrefectServer:
        """Serve a new sqlite database in the folder `place`."""
        port = free_port()
        server = cls(f"http://127.0.0.1:{port}/api", place / "client")
        variables = server.variables | {"PREFECT_HOME": str(place / "server")} | settings
        del variables["PREFECT_API_URL"]
        process = start(
            [TOOLS / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            variables=variables,
            cwd=place,
            name="prefect server",
        )
        process.wait_until(lambda: is_healthy(server.url), "the Prefect server", timeout=240)
        return server

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs to use this server and no other."""
        return {
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the server answers; as Prefect's client, again where sqlite was locked."""
        for _ in range(ATTEMPTS):
            answer = httpx.request(method, f"{self.url}{path}", json=body, timeout=120)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
        return answer.raise_for_status().json() if answer.content else None

    def find(self, what: str, **conditions: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("POST", f"/{what}/filter", conditions)
        return found

    def flow_run(self, run_id: str) -> dict[str, Any]:
        (run,) = self.find("flow_runs", flow_runs={"id": {"any_": [run_id]}})
        return run

    def logs(self, run_id: str) -> list[str]:
        return [line["message"] for line in self.find("logs", logs=_of_run(run_id))]

    def task_runs(self, run_id: str) -> list[dict[str, Any]]:
        return self.find("task_runs", flow_runs={"id": {"any_": [run_id]}})


def _of_run(run_id: str) -> dict[str, Any]:
    return {"flow_run_id": {"any_": [run_id]}}


@dataclass(frozen=True)
class MlflowServer:
    url: str
    database: str  # as SQLAlchemy names it

    @classmethod
    def start(
        cls, start: StartProcess, place: Path, database: str, **variables: str
    ) -> MlflowServer:
        """Serve a database, and keep the artifacts in the folder `place`."""
        port = free_port()
        options = (
            f"--workers 1 --host 127.0.0.1 --port {port} --backend-store-uri {database} "
            "--artifacts-destination artifacts"
        )
        process = start(
            [TOOLS / "mlflow", "server", *options.split()],
            variables={
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                **variables,
            },
            cwd=place,
            name="mlflow server",
        )
        server = cls(f"http://127.0.0.1:{port}", database)
        process.wait_until(lambda: is_healthy(server.url), "the MLflow server", timeout=120)
        return server


class MlflowServers:
    """One MLflow server for each kind of database, started when a test first asks for it."""

    def __init__(
        self,
        start: StartProcess,
        make_folder: Callable[[str], Path],
        postgresql_server: Callable[[], PostgresqlServer],
    ) -> None:
        self._start, self._make_folder = start, make_folder
        self._postgresql_server = postgresql_server
        self._running: dict[str, MlflowServer] = {}

    def __call__(self, kind: str) -> str:
        """Return the address of the server on `sqlite` or on `postgresql`."""
        return self.server(kind).url

    def server(self, kind: str) -> MlflowServer:
        if kind not in self._running:
            place = self._make_folder("mlflow")
            database = f"sqlite:///{place / 'mlflow.db'}"
            if kind == "postgresql":
                database = self._postgresql_server().new_database()
            self._running[kind] = MlflowServer.start(self._start, place, database)
        return self._running[kind]


@dataclass(frozen=True)
class PostgresqlServer:
    """A server that many tests share, each with databases of its own."""

    url: str  # its end is the name of a database

    def new_database(self, name: str = "") -> str:
        """Make an empty database; return its address."""
        name = name or f"test_{next(_numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return f"{self.url}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        import psycopg2

        with closing(psycopg2.connect(f"{self.url}/{database}")) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)


_numbers = itertools.count(1)


@contextmanager
def postgresql(start: StartProcess) -> Iterator[PostgresqlServer]:
    """Run a PostgreSQL, or skip the test where it is absent."""
    try:
        binaries = Path(postgresql_program("initdb")).parent
    except StackError as error:
        pytest.skip(str(error))
    # Not below pytest's folder, which nobody but its user may enter.
    place, port = Path(tempfile.mkdtemp(prefix="cracks-postgresql-")), free_port()
    try:
        if os.getuid() == 0:
            shutil.chown(place, "postgres", "postgres")
        data = place / "data"
        made = [*_as_postgres(), binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        subprocess.run(made, cwd=place, capture_output=True, check=True)
        options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
        process = start(
            [*_as_postgres(), binaries / "postgres", "-D", data, *options.split()],
            cwd=place,
            name="postgres",
        )
        process.wait_until(lambda: "ready to accept" in process.stderr, "PostgreSQL")
        yield PostgresqlServer(f"postgresql://postgres@127.0.0.1:{port}")
        process.interrupt()  # the fast way to end it: it waits for no client
        process.wait(20)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to be run by root."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@contextmanager
def tracking_address(address: str | None) -> Iterator[None]:
    """Set MLFLOW_TRACKING_URI, or none; MLflow itself writes the variable."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        # Noted as absent or not before anything changes it, so that the end restores it.
        patch.setenv("MLFLOW_TRACKING_URI", address or "")
        if address is None:
            os.environ.pop("MLFLOW_TRACKING_URI")
        yield
        mlflow.set_tracking_uri(None)
