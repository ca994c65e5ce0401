"""A real Prefect server, and what tests ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


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

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs to use this server and no other."""
        return {
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }

    def find(self, what: str, **conditions: Any) -> list[dict[str, Any]]:
        response = httpx.post(f"{self.url}/{what}/filter", json=conditions, timeout=10)
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()
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
