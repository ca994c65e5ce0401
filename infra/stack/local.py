"""The site of the local stack: processes of this machine, which nobody reaches from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.stack.services import Service, StackSite, Step
from infra.stack.settings import (
    CHECKOUT,
    PORTS,
    Stack,
    StackError,
    postgresql_program,
    rclone,
    read_others,
    read_ports,
    read_secrets,
    tool,
)

LOCALHOST = "127.0.0.1"

#: Marks every process of a stack and what it starts: the folder, `#`, the service.
MARK = "CRACKS_STACK_PART"

#: Settings of the tools that a person has for something else must not reach the services.
FOREIGN = ("AWS_", "CRACKS_", "DVC_", "MLFLOW_", "PG", "PREFECT_", "PYTHON", "RCLONE_")

#: PostgreSQL refuses to be run by root.
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")


def local_site(stack: Stack) -> StackSite:
    """Return where the local stack runs.

    Raises:
        StackError: it has no secrets yet, a port is none, or a program is missing.
    """
    programs = {name: tool(name) for name in ("mlflow", "prefect", "cracks", "python")}
    return StackSite(
        listen=LOCALHOST,
        hosts=dict.fromkeys(PORTS, LOCALHOST),
        ports=read_ports(stack),
        secrets=read_secrets(stack),
        programs=programs | {"postgres": postgresql_program("postgres"), "rclone": rclone()},
        folders={
            "checkout": str(CHECKOUT),
            "workspace": str(CHECKOUT),
            "databases": str(stack.databases),
            "storage": str(stack.storage),
            "service": str(stack.service),
            "prefect": str(stack.prefect),
            "sockets": "",  # none: everything goes through the port
        },
    )


def local_command(part: Service | Step) -> list[str]:
    """Return the command as this machine runs it."""
    return [*(as_postgres() if part.name == "postgresql" else ()), *part.command]


def local_environment(stack: Stack, part: Service | Step) -> dict[str, str]:
    """Return the whole environment of a service or step: its own, and what is nobody's setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    kept["PATH"] = os.pathsep.join([str(Path(tool("python")).parent), kept.get("PATH", os.defpath)])
    # No proxy stands between two services of one machine.
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), LOCALHOST, "localhost"]))
    own = {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "PWD": str(CHECKOUT),
        # Not that of the person who starts it, with the settings that lie there.
        "PREFECT_HOME": str(stack.prefect / "client"),
    }
    others = read_others(stack)
    return {**kept, **own, **others, **part.environment, MARK: mark(stack, part.name)}


def run(
    command: list[str], *, cwd: Path, what: str, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command to its end.

    Raises:
        StackError: it fails; the message has the last line that it said.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it does not say why"]
        raise StackError(f"{what} fails: {lines[-1].removeprefix('error: ')}")


def mark(stack: Stack, name: str) -> str:
    """Return the value of MARK for a service or step."""
    return f"{stack.folder}#{name}"


def as_postgres() -> tuple[str, ...]:
    """Return what stands before a command of PostgreSQL.

    Raises:
        StackError: this is root, and there is no user `postgres` to run it.
    """
    if os.getuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        raise StackError(
            "PostgreSQL refuses root, and there is no `setpriv` (package util-linux). "
            "Install it, or run `make up` as another user."
        )
    return AS_POSTGRES
