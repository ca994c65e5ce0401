"""`make up` and `make down`.

What is not up is brought up in the order of what needs what, and it is said what to open.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from cracks.system.hashing import digest_of_bytes
from infra.stack.cluster import create_databases
from infra.stack.leftovers import end_leftovers
from infra.stack.local import as_postgres, local_command, local_environment, run
from infra.stack.ports import refuse_taken_ports
from infra.stack.probing import champion, problem_of
from infra.stack.services import Service, Step, describe
from infra.stack.settings import (
    ADMIN,
    CHECKOUT,
    PORTS,
    Stack,
    StackError,
    choose_ports,
    keep_secrets,
    read_others,
    write_env,
)
from infra.stack.supervision import ALIVE, RUNNING, Supervisor, configuration

#: Seconds between two looks at a service that starts.
LOOK_INTERVAL = 0.2

#: Starts of a service after which it is said to fail; the supervisor keeps trying.
MOST_STARTS = 3

#: Lines of a log that are shown of a service that does not start.
SHOWN_LINES = 5


def up(stack: Stack, only: Collection[str] = ()) -> None:
    """Bring up the stack; what is up already is left alone.

    Args:
        stack: which one.
        only: services that are wanted, with what they need; none means all.

    Raises:
        StackError: a service is unknown, a program is missing, a port is taken, or a service does
            not become healthy. What is healthy stays up, and the next call fixes the rest.
        KeyboardInterrupt: after what this call had started is ended again.
    """
    start = time.monotonic()
    _require_known(only)
    _make_folder(stack)
    with _only_one(stack):
        ports = choose_ports(stack, os.environ)
        keep_secrets(stack)
        described = describe(stack)
        parts = described.parts(only)
        refuse_taken_ports(stack, {name: ports[name] for name in ports if name in parts})
        create_databases(stack, described.services["postgresql"])
        start_up = _StartUp(stack, described.services, parts, Supervisor(stack))
        try:
            start_up.run()
        except KeyboardInterrupt:
            start_up.undo()
            raise
        comment = f"To use the stack: set -a; . {stack.client}; set +a"
        write_env(stack.client, described.client, comment)
    changed = f"up in {time.monotonic() - start:.0f} s" if start_up.started else "up already"
    if only:
        _tell(f"\n{', '.join(only)}: {changed}. `make up` starts the rest.")
        return
    _tell(f"\nThe stack is {changed}. To open:\n{_to_open(stack, described.services)}")


def down(stack: Stack) -> None:
    """End the stack, the last service first; what it keeps stays.

    Raises:
        StackError: somebody starts it at this moment, or the supervisor does not end.
    """
    ran, ended = False, 0
    if stack.folder.is_dir():
        with _only_one(stack):
            ran = Supervisor(stack).end()
            ended = end_leftovers(stack, flow_runs=True)
    if not ran and not ended:
        _tell("The stack is down already.")
        return
    also = f" {ended} processes that nobody watched were ended too." if ended else ""
    _tell(f"The stack is down; its data stays in {stack.folder}.{also}")


def _require_known(names: Collection[str]) -> None:
    unknown = [name for name in names if name not in PORTS]
    if unknown:
        raise StackError(f"There is no service {unknown[0]}. Take of: {', '.join(PORTS)}.")


def _make_folder(stack: Stack) -> None:
    """Make the folder of the stack, which holds others that not everybody may read.

    Raises:
        StackError: it cannot be made, or PostgreSQL's user cannot reach it.
    """
    try:
        stack.folder.mkdir(parents=True, exist_ok=True)
        for folder in (stack.storage, stack.service, stack.prefect, stack.logs):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
    except OSError as error:
        raise StackError(f"{error.filename}: {error.strerror}. Set CRACKS_STACK_DIR.") from None
    if as_postgres():
        reach = [*as_postgres(), "test", "-x", str(stack.folder)]
        if subprocess.run(reach, check=False).returncode:
            raise StackError(
                f"The user postgres cannot enter {stack.folder}. Open each folder above it with "
                "`chmod o+x`, or set CRACKS_STACK_DIR to one that it can enter."
            )


@contextmanager
def _only_one(stack: Stack) -> Iterator[None]:
    """Keep others from starting or stopping the stack at the same time.

    Raises:
        StackError: somebody does.
    """
    try:
        with FileLock(stack.lock, timeout=0):
            yield
    except Timeout:
        raise StackError(
            f"Another `make up` or `make down` works on {stack.folder}. Wait until it ends."
        ) from None


# --- the start ------------------------------------------------------------------------------------


@dataclass
class _StartUp:
    """One `make up`: what it has started, and what is done."""

    stack: Stack
    services: Mapping[str, Service]
    #: What is wanted of the services and steps.
    parts: Mapping[str, Step]
    supervisor: Supervisor
    started: list[str] = field(default_factory=list)
    supervisor_started: bool = False
    #: The processes that each service was seen as.
    pids: dict[str, set[int]] = field(default_factory=dict)

    def run(self) -> None:
        """Start what does not run, as soon as what it needs is healthy; wait until all is."""
        self._supervise()
        waiting = dict(self.parts)
        done: set[str] = set()
        since: dict[str, float] = {}
        while waiting:
            progressed = False
            for name, part in list(waiting.items()):
                if not done.issuperset(part.needs):
                    continue
                if not isinstance(part, Service):
                    self._do(part)
                elif not self._is_healthy(part, since):
                    continue
                done.add(name)
                del waiting[name]
                progressed = True
            if not progressed:
                time.sleep(LOOK_INTERVAL)

    def undo(self) -> None:
        """End what this call has started, and nothing else."""
        _tell("Interrupted: what this had started is ended again.")
        if self.supervisor_started:
            self.supervisor.end()
            end_leftovers(self.stack, flow_runs=False)
        else:
            for name in reversed(self.started):
                self.supervisor.stop_service(name)

    def _supervise(self) -> None:
        configured = configuration(self.stack, self.services)
        written = self.stack.supervisor
        changed = not written.is_file() or written.read_text(encoding="utf-8") != configured
        if changed:
            written.write_text(configured, encoding="utf-8")
        if not self.supervisor.runs():
            # Its predecessor was killed; whatever that watched is watched by nobody.
            end_leftovers(self.stack, flow_runs=False)
            self.supervisor_started = True
            self.supervisor.start()
        elif changed:
            for name in self.supervisor.take_over():
                _tell(f"{name:<12} its settings have changed: it is restarted")

    def _is_healthy(self, service: Service, since: dict[str, float]) -> bool:
        """Return whether a service is healthy; start it if nobody has."""
        if service.name not in since:
            since[service.name] = time.monotonic()
            watched = self.supervisor.watched().get(service.name)
            if watched is None or watched.state not in ALIVE:
                self.started.append(service.name)
                self.supervisor.start_service(service.name)
        took = time.monotonic() - since[service.name]
        problem = problem_of(service)
        if problem is None and self._is_running(service.name):
            how = f"healthy after {took:.0f} s" if service.name in self.started else "healthy"
            _tell(f"{service.name:<12} {how:<20} {service.address}")
            return True
        if took > service.start_seconds or self._ends_again_and_again(service.name):
            raise StackError(self._why_not(service, problem or "it ended"))
        return False

    def _is_running(self, name: str) -> bool:
        # A port that answers may be that of a process which is about to end.
        watched = self.supervisor.watched().get(name)
        return watched is not None and watched.state in RUNNING

    def _ends_again_and_again(self, name: str) -> bool:
        watched = self.supervisor.watched().get(name)
        if watched is None:
            return False
        seen = self.pids.setdefault(name, set())
        seen |= {watched.pid} if watched.pid else set()
        return watched.state == "FATAL" or len(seen) > MOST_STARTS

    def _why_not(self, service: Service, problem: str) -> str:
        log = self.stack.log(service.name)
        lines = _read(log).splitlines()
        said = "".join(f"\n    {line}" for line in lines[-SHOWN_LINES:])
        return (
            f"{service.name} is not healthy ({problem}). Its log {log} ends with:{said}\n"
            "Fix that and run `make up` again; what is healthy stays up."
        )

    def _do(self, step: Step) -> None:
        """Do a step, or not if nothing that it reads has changed since it was done."""
        digest = _digest_of_flows(self.stack) if step.name == "deployments" else None
        is_new = not {"postgresql", "prefect"}.isdisjoint(self.started)
        if digest and not is_new and _read(self.stack.deployed) == digest:
            return
        start = time.monotonic()
        environment = local_environment(self.stack, step)
        run(local_command(step), cwd=CHECKOUT, what=step.name, environment=environment)
        if digest:
            self.stack.deployed.write_text(digest, encoding="utf-8")
        if self.started:
            _tell(f"{step.name:<12} done in {time.monotonic() - start:.0f} s")


def _digest_of_flows(stack: Stack) -> str:
    """Return a digest of what is deployed, where it lies, and the variables for it."""
    flows, deployment = CHECKOUT / "flows", CHECKOUT / "infra/deployment"
    code = [*flows.rglob("*.py"), *deployment.glob("*.py"), *deployment.glob("*.yaml")]
    files = [CHECKOUT / "prefect.yaml", *sorted(code)]
    contents = b"\0".join(file.read_bytes() for file in files)
    others = repr(sorted(read_others(stack).items()))
    return digest_of_bytes(f"{CHECKOUT}{others}".encode() + contents)


def _tell(line: str) -> None:
    print(line, flush=True)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _to_open(stack: Stack, services: Mapping[str, Service]) -> str:
    password = f"user {ADMIN}, password in {stack.secrets}:"
    lines = (
        ("MLflow", "mlflow", f"{password} CRACKS_MLFLOW_PASSWORD"),
        ("Prefect", "prefect", f"{password} CRACKS_PREFECT_PASSWORD"),
        ("Service", "serving", champion(services["serving"])),
    )
    shown = "\n".join(
        f"  {title:<9}{services[name].address:<25} {note}" for title, name, note in lines
    )
    return f"{shown}\n  A shell   set -a; . {stack.client}; set +a"
