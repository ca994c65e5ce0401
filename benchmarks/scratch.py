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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from cracks.system.console import TERMINAL
from cracks.system.environment import DEFAULTS
from infra.clean_environment import clean_environment

Found = TypeVar("Found")

#: The signals that end the benchmark, and with it all that it started.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
        """The JSON in the last line that it printed; libraries may warn before it."""
        found: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return found


@dataclass(frozen=True)
class Started:
    """A process that runs, and what it has printed so far."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        """What it has printed so far, on both streams."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def last_line(self) -> str:
        """The last line of that."""
        return (self.said.strip().splitlines() or ["it said nothing"])[-1]

    def wait_until(
        self, condition: Callable[[str], Found | None], what: str, within: float
    ) -> Found:
        """Return what `condition` makes of the output as soon as that is true.

        Raises:
            MeasurementFailed: it is not in so many seconds, or the process has ended.
        """
        deadline = time.monotonic() + within
        while not (found := condition(self.said)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                name = self.output.name
                raise MeasurementFailed(f"{name}: waited in vain for {what}: {self.last_line}")
            time.sleep(0.05)
        return found

    def wait_until_up(self, url: str, within: float) -> None:
        """Wait for a response with success from `url`; see `wait_until`."""
        self.wait_until(lambda _: _is_up(url), url, within)


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
        start = time.perf_counter()
        with self.started("output", command, cwd, **variables) as started:
            _, status, usage = os.wait4(started.process.pid, 0)
            code = started.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if code:
            name = " ".join(str(part) for part in command[1:4])
            raise MeasurementFailed(f"`{name}` ended with {code}: {started.last_line}")
        return Run(seconds, usage.ru_maxrss / 1024, started.said)

    def run_module(self, module: str, *arguments: object, cwd: Path, **variables: str) -> Run:
        """Run `python -m module`; see `run`."""
        return self.run(tool("python", "-m", module, *arguments), cwd, **variables)

    def run_script(self, name: str, *arguments: object) -> Run:
        """Run a file of this folder that uses nothing of this project; see `run`."""
        script = Path(__file__).with_name(name)
        # -P: the modules beside the script must not take the place of those that it imports.
        return self.run(tool("python", "-P", script, *arguments), self.place)

    def tell(self, text: str) -> None:
        """Say on standard error what is done now, and how long it has been since the start."""
        seconds = time.monotonic() - self._start
        print(f"{seconds:7.1f} s  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def started(
        self, name: str, command: Sequence[str | Path], cwd: Path, **variables: str
    ) -> Iterator[Started]:
        """Yield the running command, called `name`; end it and all its children."""
        output = self.temporary / name
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
            yield Started(process, output)
        finally:
            if process.returncode is None:
                _end(process)

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


def tool(name: str, *arguments: object) -> list[str]:
    """Return the command of a tool of this environment."""
    return [str(Path(sys.executable).with_name(name)), *map(str, arguments)]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_peak_mb() -> float:
    """Return the most memory that this process has needed so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


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
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
