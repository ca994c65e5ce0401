"""The reports of all service processes, so that they switch together and can be waited for.

    service/processes/<host>-<pid>.json   which champion it serves, which it is ready to
                                          serve next, and which it refused

A process touches its file while it lives; a killed one's report expires in a few seconds.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cracks.errors import ServiceError
from cracks.inference.handover.champion import Champion
from cracks.system.atomic_files import write_json

FOLDER = "processes"

#: Seconds after its last touch that a report counts as one of a living process.
STALE_AFTER = 5.0

#: Seconds between two polls of the reports.
LOOK_INTERVAL = 0.05


class ServiceReport(BaseModel):
    """The report of one service process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    process: str
    champion: Champion | None = None  # that it serves
    prepared: Champion | None = None  # that it has loaded, and will serve once all have
    refused: Champion | None = None  # that it could not load
    problem: str | None = None


class ServiceReporter:
    """Keeps the report of a process."""

    def __init__(self, service: Path, process: str = "") -> None:
        """Write nothing yet.

        Args:
            service: the folder of the hand-over.
            process: a name that no other one has; this process on this host by default.
        """
        self._service = service
        self._process = process or f"{socket.gethostname()}-{os.getpid()}"
        self._file = service / FOLDER / f"{self._process}.json"
        self._last: ServiceReport | None = None
        self._lock = threading.Lock()

    def tell(
        self,
        champion: Champion | None,
        refused: Champion | None,
        problem: str | None,
        prepared: Champion | None = None,
    ) -> None:
        """Write what changed, or only that the process lives; from any thread."""
        report = ServiceReport(
            process=self._process,
            champion=champion,
            prepared=prepared,
            refused=refused,
            problem=problem,
        )
        with self._lock:
            if report != self._last or not self._file.exists():
                write_json(self._file, report.model_dump())
                self._last = report
            os.utime(self._file)

    def others(self) -> list[ServiceReport]:
        """Return the reports of the other service processes that live."""
        return [one for one in living_processes(self._service) if one.process != self._process]

    def end(self) -> None:
        """Remove the report: the process ends."""
        with self._lock:
            self._file.unlink(missing_ok=True)


def living_processes(service: Path) -> list[ServiceReport]:
    """Return the reports of the service processes that live, by name."""
    oldest = time.time() - STALE_AFTER
    reports = []
    for file in sorted((service / FOLDER).glob("*.json")):
        try:
            if file.stat().st_mtime >= oldest:
                reports.append(ServiceReport.model_validate_json(file.read_bytes()))
        except (FileNotFoundError, ValidationError):
            continue  # it has just ended, or is of another release
    return reports


def wait_for_service(service: Path, champion: Champion, timeout: float) -> list[str]:
    """Wait until every living service process serves `champion`.

    Returns:
        The names of the processes; none if no service runs.

    Raises:
        ServiceError: one of them refused the champion, or the timeout is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        living = living_processes(service)
        refusing = next((one for one in living if one.refused == champion), None)
        if refusing:
            raise ServiceError(f"The service {refusing.process} refused it: {refusing.problem}")
        waited_for = [one.process for one in living if one.champion != champion]
        if not waited_for:
            return [one.process for one in living]
        if time.monotonic() > deadline:
            raise ServiceError(
                f"The service {', '.join(waited_for)} did not switch to version "
                f"{champion.version} within {timeout:.0f} s. Look at its log."
            )
        time.sleep(LOOK_INTERVAL)
