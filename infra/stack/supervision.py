"""The supervisor: its configuration, written from the description, and orders through its socket.

supervisord (PyPI `supervisor`) has done this for twenty years, needs nothing but Python, is told
everything in one file, and answers over a Unix socket that only its owner may open.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from cracks.system.hashing import digest_of_bytes
from infra.stack.local import MARK, local_command, mark
from infra.stack.services import Service
from infra.stack.settings import CHECKOUT, FOLDER_VARIABLE, Stack, StackError, read_others

#: What is run as the supervisor, and what the supervisor runs.
MODULE, LAUNCHER = "supervisor.supervisord", "infra.stack.launch"

#: Bytes of a log, and how many older ones stay.
LOG_BYTES, OLD_LOGS = "10MB", 3

#: A service that ends at once is started again after 1, 2, 3 … seconds, for about an hour.
START_RETRIES = 85

#: Seconds until the supervisor must answer, and until it must have ended everything.
START_TIMEOUT, END_TIMEOUT = 15.0, 120.0

#: States in which a service has begun to work, and those in which it need not be started. LAUNCHING
#: is ours: `launch` still waits, and what may answer at the port is a predecessor about to end.
RUNNING, ALIVE = ("RUNNING", "STARTING"), ("RUNNING", "STARTING", "LAUNCHING", "BACKOFF")


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor says of a service."""

    state: str
    pid: int | None
    uptime: float | None


def configuration(stack: Stack, services: Mapping[str, Service]) -> str:
    """Return the supervisor's configuration. It holds no secret."""
    programs = (
        _program(stack, service, order) for order, service in enumerate(services.values(), start=1)
    )
    sections: dict[str, dict[str, object]] = {
        "supervisord": {
            "logfile": stack.log("supervisord"),
            "logfile_maxbytes": LOG_BYTES,
            "logfile_backups": OLD_LOGS,
            "pidfile": stack.folder / "supervisord.pid",
            "directory": CHECKOUT,
            "nocleanup": "true",
            # It warns of being root unless it is told to be.
            **({"user": "root"} if os.getuid() == 0 else {}),
        },
        "unix_http_server": {"file": stack.socket, "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    return "\n".join([*(_section(name, lines) for name, lines in sections.items()), *programs])


def _program(stack: Stack, service: Service, order: int) -> str:
    variables = {
        FOLDER_VARIABLE: str(stack.folder),
        MARK: mark(stack, service.name),
        # A changed setting changes this, so that the supervisor sees which service is another now.
        "CRACKS_STACK_SETTINGS": _fingerprint(stack, service),
        "CRACKS_RCLONE": os.environ.get("CRACKS_RCLONE", ""),
    }
    # Those of PostgreSQL are its own business.
    as_group = str(service.name != "postgresql").lower()
    return _section(
        f"program:{service.name}",
        {
            "command": f"{sys.executable} -m {LAUNCHER} {service.name}",
            "directory": CHECKOUT,
            "environment": ",".join(f'{name}="{value}"' for name, value in variables.items()),
            "priority": order,
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 1,
            "startretries": START_RETRIES,
            "stopsignal": service.stop_signal,
            "stopwaitsecs": service.stop_seconds,
            "stopasgroup": as_group,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": stack.log(service.name),
            "stdout_logfile_maxbytes": LOG_BYTES,
            "stdout_logfile_backups": OLD_LOGS,
        },
    )


def _section(name: str, lines: Mapping[str, object]) -> str:
    # The percent sign begins a variable of supervisor's.
    text = (f"{key} = {str(value).replace('%', '%%')}\n" for key, value in lines.items())
    return f"[{name}]\n" + "".join(text)


def _fingerprint(stack: Stack, service: Service) -> str:
    environment = {**read_others(stack), **service.environment}
    settled = repr((local_command(service), sorted(environment.items())))
    return digest_of_bytes(settled.encode())[:16]


def _is_launching(pid: int) -> bool:
    try:
        command = psutil.Process(pid).cmdline() if pid else []
    except psutil.Error:
        return False
    # For a moment a new process is still a copy of its supervisor.
    return LAUNCHER in command or MODULE in command


class Supervisor:
    """Orders to the supervisor of a stack, which may or may not run."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @contextmanager
    def _orders(self) -> Iterator[Any]:
        """Yield a new connection: one that was broken once stays so."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(serverurl=f"unix://{self._stack.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            yield proxy.supervisor

    def runs(self) -> bool:
        """Return whether it answers."""
        try:
            with self._orders() as orders:
                return bool(orders.getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def start(self) -> None:
        """Start it; no service is started by that.

        Raises:
            StackError: it does not answer in time.
        """
        command = [
            sys.executable,
            "-m",
            MODULE,
            "-c",
            str(self._stack.supervisor),
        ]
        # Its own environment is that of every service until the launcher has tidied it.
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + START_TIMEOUT
        while not self.runs():
            if done.returncode or time.monotonic() > deadline:
                lines = (done.stderr or done.stdout).strip().splitlines() or ["it does not answer"]
                raise StackError(
                    f"The supervisor does not start: {lines[-1]}. "
                    f"See {self._stack.log('supervisord')}."
                )
            time.sleep(0.05)

    def take_over(self) -> list[str]:
        """Read the configuration again; end services whose settings changed, and return them."""
        with self._orders() as orders:
            ((added, changed, removed),) = orders.reloadConfig()
            for name in (*changed, *removed):
                orders.stopProcessGroup(name)
                orders.removeProcessGroup(name)
            for name in (*added, *changed):
                orders.addProcessGroup(name)
        return [*changed]

    def watched(self) -> dict[str, ProcessState]:
        """Return what it says of each service; nothing if it does not run."""
        try:
            with self._orders() as orders:
                told = orders.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error):
            return {}
        return {
            one["name"]: ProcessState(
                state="LAUNCHING" if _is_launching(one["pid"]) else one["statename"],
                pid=one["pid"] or None,
                uptime=float(one["now"] - one["start"]) if one["pid"] else None,
            )
            for one in told
        }

    def start_service(self, name: str) -> None:
        """Start a service, and do not wait."""
        with self._orders() as orders, suppress(xmlrpc.client.Fault):  # it is started already
            orders.startProcess(name, False)

    def stop_service(self, name: str) -> None:
        """End a service, and wait until it has ended."""
        with self._orders() as orders, suppress(xmlrpc.client.Fault):  # it has ended already
            orders.stopProcess(name, True)

    def end(self) -> bool:
        """End every service, the last one first, and the supervisor; return whether it had run.

        Raises:
            StackError: it does not end.
        """
        process = self._process()
        if process is None:
            return False
        # Also where its socket is gone, or not there yet.
        process.terminate()
        try:
            process.wait(END_TIMEOUT)
        except psutil.TimeoutExpired:
            raise StackError(
                f"The supervisor (process {process.pid}) does not end. "
                f"See {self._stack.log('supervisord')}."
            ) from None
        return True

    def _process(self) -> psutil.Process | None:
        """Return the supervisor of this stack: the process that was given its configuration."""
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or ()
            if MODULE in command and str(self._stack.supervisor) in command:
                return process
        return None
