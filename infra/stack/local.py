"""How commands of the stack are run on this machine, and in which environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.stack.services import Step
from infra.stack.settings import (
    CHECKOUT,
    LOCALHOST,
    Stack,
    StackError,
    postgresql_program,
    rclone,
    read_others,
    tool,
)

#: Marks every process of a stack and what it starts: the folder, `#`, the service.
MARK = "CRACKS_STACK_PART"

#: Settings of the tools that a person has for something else must not reach the services.
FOREIGN = ("AWS_", "CRACKS_", "DVC_", "MLFLOW_", "PG", "PREFECT_", "PYTHON", "RCLONE_")

#: PostgreSQL refuses to be run by root.
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")


def local_command(part: Step) -> list[str]:
    """Return the command as this machine runs it.

    Raises:
        StackError: its program is missing, or root has nobody to run PostgreSQL.
    """
    name, *arguments = part.command
    if name == "postgres":
        return [*as_postgres(), postgresql_program(name), *arguments]
    return [rclone() if name == "rclone" else tool(name), *arguments]


def local_environment(stack: Stack, part: Step) -> dict[str, str]:
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
    # The image of PostgreSQL makes its cluster of these; here `initdb` has done so.
    described = {
        name: value for name, value in part.environment.items() if not name.startswith("POSTGRES_")
    }
    return {**kept, **own, **read_others(stack), **described, MARK: mark(stack, part.name)}


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
