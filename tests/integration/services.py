"""A service, in this process or in one of its own, and a client that speaks to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient
from processes import TOOLS, Found, RunningProcess, StartProcess, wait_until

from serving.app import create_app
from serving.settings import ServiceSettings


@dataclass(frozen=True)
class Service:
    """A service, and the folder that it follows."""

    folder: Path
    client: httpx.Client

    def metric(self, name: str) -> float:
        """The sum of all series of a metric that begin like that."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def predict(self, **images: bytes) -> list[dict[str, Any]]:
        response = self.client.post("/predict", files=uploads(**images))
        response.raise_for_status()
        predictions: list[dict[str, Any]] = response.json()["predictions"]
        return predictions

    def wait_for_version(self, version: str) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            said: dict[str, Any] = self.client.get("/ready").json()
            return said if said.get("model_version") == version else None

        return self.wait_until(ready, f"version {version}") or {}

    def wait_for_problem(self) -> str:
        def problem() -> str:
            return str(self.client.get("/ready").json().get("problem") or "")

        return self.wait_until(problem, "a problem in /ready")

    def wait_until(self, condition: Callable[[], Found], what: str) -> Found:
        return wait_until(condition, what)


@dataclass(frozen=True)
class ServiceProcess(Service):
    """A service in a process of its own."""

    process: RunningProcess

    @property
    def url(self) -> str:
        return str(self.client.base_url).rstrip("/")

    @property
    def port(self) -> int:
        return self.client.base_url.port or 0

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines that it logged, each a JSON object."""
        return [json.loads(line) for line in self.process.stderr.splitlines()]

    def line_of(self, response: httpx.Response) -> dict[str, Any]:
        """The line of a request in the log."""
        wanted = response.headers["X-Request-ID"]

        def found() -> dict[str, Any] | None:
            lines = [one for one in self.log if one.get("request_id") == wanted]
            return lines[-1] if lines else None

        return self.wait_until(found, f"a log line of {wanted}") or {}

    def wait_until(self, condition: Callable[[], Found], what: str) -> Found:
        return self.process.wait_until(condition, what)

    def post(self, *headers: str) -> PieceByPiece:
        """Begin a request to /predict whose body is sent piece by piece."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=15)
        key = [f"X-API-Key: {self.client.headers.get('X-API-Key', '')}"]
        lines = ("POST /predict HTTP/1.1", "Host: test", *key, *headers, "", "")
        connection.sendall("\r\n".join(lines).encode())
        return PieceByPiece(connection)


@dataclass(frozen=True)
class PieceByPiece:
    """A request under way."""

    connection: socket.socket

    def __enter__(self) -> PieceByPiece:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def response(self) -> tuple[int, str]:
        """Return the status, and what else came until the body ended or the connection did."""
        said = b""
        while b"\r\n\r\n" not in said or not said.rstrip().endswith(b"}"):
            more = self.connection.recv(65536)
            if not more:
                break
            said += more
        return int(said.split(b" ", 2)[1]), said.decode()


def uploads(**images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Return files for the form of /predict, by their names."""
    return [("files", (name, content)) for name, content in images.items()]


@contextmanager
def in_process(folder: Path, *, key: str = "", **settings: Any) -> Iterator[Service]:
    """Yield a service in this process; open to anybody unless there is a key."""
    app = create_app(ServiceSettings(service=folder, open=not key, **settings))
    headers = {"X-API-Key": key} if key else None
    with TestClient(app, "http://127.0.0.1", headers=headers) as client:
        yield Service(folder, client)


def make_workspace(root: Path) -> Path:
    """Make as much of a checkout as serving looks for."""
    (root / ".dvc").mkdir(parents=True)
    (root / "dvc.yaml").touch()
    return root


@contextmanager
def serving(
    start: StartProcess,
    workspace: Path,
    folder: Path,
    *options: str,
    variables: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[ServiceProcess]:
    """Yield a service that follows `folder`; open to anybody unless there are other options."""
    command = [TOOLS / "cracks", "-C", workspace, "serve", "--port", "0", "--json"]
    process = start(
        [*command, *(options or ("--open",))],
        variables={"CRACKS_SERVICE_DIR": str(folder), **(variables or {})},
        name="cracks serve",
        cwd=cwd,
    )
    url = json.loads(process.wait_until(lambda: process.stdout, "the address"))["url"]
    with httpx.Client(base_url=url, timeout=20, headers=dict(headers or {})) as client:
        # The port is open before the service answers; the first request waits for it.
        assert client.get("/health").json() == {"status": "ok"}
        yield ServiceProcess(folder, client, process)
