"""A service that runs in a process of its own, and a client that speaks to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from processes import TOOLS, RunningProcess, StartProcess


@dataclass(frozen=True)
class Service:
    """A running service and the folder that it follows."""

    folder: Path
    process: RunningProcess
    client: httpx.Client

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

        return self.process.wait_until(found, f"a log line of {wanted}", timeout=5) or {}

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
        def answer() -> dict[str, Any] | None:
            response = self.client.get("/ready")
            ready: dict[str, Any] = response.json()
            return ready if ready.get("model_version") == version else None

        return self.process.wait_until(answer, f"version {version}") or {}

    def wait_for_problem(self) -> str:
        def problem() -> str:
            return str(self.client.get("/ready").json().get("problem") or "")

        return self.process.wait_until(problem, "a problem in /ready", timeout=8)


def uploads(**images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Return files for the form of /predict, by their names."""
    return [("files", (name, content)) for name, content in images.items()]


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
) -> Iterator[Service]:
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
        yield Service(folder, process, client)
