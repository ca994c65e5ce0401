"""A scratch folder and the processes that work in it; both are gone when the benchmark ends."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cracks.system.console import TERMINAL
from cracks.system.environment import DEFAULTS
from infra.clean_environment import clean_environment

#: Where the tools of this environment lie.
TOOLS = Path(sys.executable).parent

#: Seconds that a process gets to end by itself.
GRACE = 10


class MeasurementFailed(Exception):
    """Something could not be measured; the message says why."""


@dataclass(frozen=True)
class Run:
    """What a process took, and what it printed."""

    seconds: float
    peak_mb: float
    output: str

    @property
    def found(self) -> dict[str, Any]:
        """What it printed last, which is JSON."""
        return last_json(self.output)


class Scratch:
    """A folder, and the way to run a command that leaves nothing outside of it."""

    def __init__(self, place: Path) -> None:
        """Use the empty folder `place`."""
        self.place = place
        self.temporary = place / "tmp"
        self.temporary.mkdir()
        self._start = time.monotonic()

    def run(self, command: Sequence[str | Path], cwd: Path, **variables: str) -> Run:
        """Run `command` to its end.

        Its peak memory is that of its largest process. Linux never reports less than what this
        process had needed when it started the command, so this process must stay small.

        Raises:
            MeasurementFailed: it ends with another exit code than 0.
        """
        output = self.temporary / "output"
        start = time.perf_counter()
        with self.started(command, output, cwd, **variables) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        said = output.read_text(encoding="utf-8", errors="replace")
        if process.returncode:
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            name = " ".join(str(part) for part in command[1:4])
            raise MeasurementFailed(f"`{name}` ended with {process.returncode}: {last}")
        return Run(seconds, usage.ru_maxrss / 1024, said)

    def tell(self, text: str) -> None:
        """Say on standard error what is done now, and how long it has been since the start."""
        seconds = time.monotonic() - self._start
        print(f"{seconds:7.1f} s  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def started(
        self, command: Sequence[str | Path], output: Path, cwd: Path, **variables: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Yield the running command, which prints to `output`; end it and all its children."""
        with output.open("wb") as file:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=self._environment(variables),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends all
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                _end(process)

    def require_space(self, needed: float, what: str) -> None:
        """Refuse work that the disk has no room for.

        Raises:
            MeasurementFailed: fewer than `needed` bytes are free.
        """
        free = shutil.disk_usage(self.place).free
        if free < needed:
            raise MeasurementFailed(
                f"{what} needs {needed / 1e9:.1f} GB and {self.place.parent} has {free / 1e9:.1f}; "
                "name a folder with more room in TMPDIR"
            )

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        # What was printed last shall be the last line of the output.
        settings = {"PYTHONUNBUFFERED": "1"}
        places = {
            "TMPDIR": str(self.temporary),
            "DVC_SITE_CACHE_DIR": str(self.place / "dvc-site"),
            "DVC_GLOBAL_CONFIG_DIR": str(self.place / "no-dvc-settings"),
            "DVC_SYSTEM_CONFIG_DIR": str(self.place / "no-dvc-settings"),
        }
        # The stages draw their bars on the terminal, though what they print is kept.
        terminal = {TERMINAL: os.ttyname(sys.stderr.fileno())} if sys.stderr.isatty() else {}
        return {**clean_environment(), **DEFAULTS, **settings, **places, **terminal, **variables}


@contextmanager
def scratch() -> Iterator[Scratch]:
    """Yield a scratch folder that is removed, whatever happens and however impatient one is."""
    place = Path(tempfile.mkdtemp(prefix="cracks-bench-"))
    try:
        yield Scratch(place)
    finally:
        with _undisturbed():
            shutil.rmtree(place, ignore_errors=True)


def last_json(output: str) -> dict[str, Any]:
    """Return the JSON in the last line that a program printed; libraries may warn before it."""
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_peak_mb() -> float:
    """Return the most memory that this process has needed so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process and every child that it left; insist after a while."""
    with _undisturbed():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a second Ctrl-C not leave behind what the first one was about to clear away."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
