"""A real Dask cluster: a scheduler and workers in processes of their own, to be killed at will."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from processes import TOOLS, RunningProcess, StartProcess, free_port

#: Tests wait for dead processes, not for Dask's own patience.
SETTINGS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


@dataclass
class DaskCluster:
    """A scheduler on a port of its own, and as many workers of one thread as were started."""

    start: StartProcess
    place: Path
    variables: Mapping[str, str]  # of the workers
    port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    workers: list[RunningProcess] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self) -> None:
        command: list[str | Path] = [TOOLS / "dask", "scheduler", "--host", "127.0.0.1"]
        command += ["--port", str(self.port)]
        command += ["--dashboard-address", f"127.0.0.1:{self.dashboard_port}"]
        self.scheduler = self.start(command, variables=SETTINGS, cwd=self.place, name="scheduler")
        self.scheduler.wait_until(
            lambda: "Scheduler at:" in self.scheduler.stderr, "the scheduler", timeout=60
        )

    def add_worker(self, **variables: str) -> RunningProcess:
        """Start a worker; it is not waited for."""
        command: list[str | Path] = [TOOLS / "dask", "worker", self.address, "--nthreads", "1"]
        command += ["--no-nanny", "--no-dashboard", "--memory-limit", "2GiB"]
        command += ["--host", "127.0.0.1", "--local-directory", self.place / "workers"]
        worker = self.start(
            command, variables={**SETTINGS, **self.variables, **variables}, name="worker"
        )
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        def seen() -> bool:
            return sum("Registered to:" in one.stderr for one in self.living) >= count

        self.scheduler.wait_until(seen, f"{count} workers", timeout=60)

    @property
    def living(self) -> list[RunningProcess]:
        return [worker for worker in self.workers if worker.exit_code is None]

    def is_watched_at(self, link: str) -> bool:
        """Return whether Dask's own dashboard answers there."""
        with suppress(httpx.HTTPError):
            return httpx.get(link, timeout=10, follow_redirects=True).status_code == 200
        return False


def kill(process: RunningProcess) -> None:
    """End a process at once, and see it gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
