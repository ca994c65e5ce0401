"""`make status`: each service with its health, its address, its process and its log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from cracks.system.console import print_table
from infra.stack.probing import champion, problems_of
from infra.stack.services import Service, describe
from infra.stack.settings import Stack, StackError
from infra.stack.supervision import ProcessState, Supervisor


@dataclass(frozen=True)
class Line:
    """What is known of one service."""

    service: str
    healthy: bool
    health: str
    address: str
    pid: int | None
    uptime_seconds: float | None
    log: str


def status(stack: Stack) -> list[Line]:
    """Return what is known of each service.

    Raises:
        StackError: the stack was never up.
    """
    if not stack.secrets.is_file():
        raise StackError(f"There is no stack in {stack.folder}. `make up` makes one.")
    known = describe(stack).services
    watched, problems = Supervisor(stack).watched(), problems_of(known)
    return [
        _line(stack, service, watched.get(name), problems[name]) for name, service in known.items()
    ]


def _line(
    stack: Stack,
    service: Service,
    watched: ProcessState | None,
    problem: str | None,
) -> Line:
    runs = watched is not None and watched.pid is not None
    if watched is not None and watched.state == "LAUNCHING":
        problem = "starting"
    note = champion(service) if service.name == "serving" and not problem else ""
    if runs:
        health = problem or ", ".join(filter(None, ["healthy", note]))
    elif problem:
        health = "down" if watched is None else watched.state.lower()
    else:
        health = "answers, but nobody watches it: `make up` fixes that"
    return Line(
        service=service.name,
        healthy=runs and problem is None,
        health=health,
        address=service.address,
        pid=watched.pid if watched else None,
        uptime_seconds=watched.uptime if watched else None,
        log=str(stack.log(service.name)),
    )


def show(lines: list[Line], *, as_json: bool) -> None:
    """Print the lines as a table, or as JSON."""
    if as_json:
        whole = {"healthy": all(line.healthy for line in lines)}
        print(json.dumps({**whole, "services": [asdict(line) for line in lines]}, indent=2))
        return
    rows = [
        {
            "service": line.service,
            "health": line.health,
            "address": line.address,
            "process": line.pid,
            "up for": _duration(line.uptime_seconds),
            "log": _from_here(line.log),
        }
        for line in lines
    ]
    print_table(rows, "The stack", standard_output=True)


def _from_here(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=int(seconds))
