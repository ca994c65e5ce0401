"""Real processes: each one is ended with all its children, and its log is kept to be shown."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from infra.clean_environment import clean_environment

Found = TypeVar("Found")

CHECKOUT = Path(__file__).resolve().parents[1]
#: Where the tools of this environment lie: cracks, dvc, mlflow, prefect, uv.
TOOLS = Path(sys.executable).parent

#: What decides which kernels TensorFlow and OpenVINO use: all processes of a run compute with the
#: same.
KERNELS = ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS")

#: Lines of a log that are shown for a failed test.
SHOWN_LINES = 15


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process without settings of the tools, and `variables`.

    Its kernels are those of this process. Python finds the code of this checkout, wherever the
    project is installed from.
    """
    quiet = {"DO_NOT_TRACK": "true", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    kernels = {name: os.environ[name] for name in KERNELS if name in os.environ}
    return {**clean_environment(), **quiet, **kernels, "PYTHONPATH": str(CHECKOUT), **variables}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], Found], what: str, *, timeout: float = 30, interval: float = 0.05
) -> Found:
    """Return what `condition` returns as soon as it is true; fail, saying `what`, if never."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what}; last: {found!r}")
        time.sleep(interval)
    return found


class RunningProcess:
    """A process in a group of its own, with its standard output and error in files."""

    def __init__(
        self,
        command: Sequence[str | Path],
        logs: Path,
        *,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "",
    ) -> None:
        self.name = name or " ".join(str(part) for part in command)[:80]
        self._files = (logs / "stdout", logs / "stderr")
        logs.mkdir(parents=True, exist_ok=True)
        with self._files[0].open("wb") as out, self._files[1].open("wb") as error:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                cwd=cwd,
                env=environment(**(variables or {})),
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return self._files[0].read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self._files[1].read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def log(self) -> str:
        """The last lines of what it said."""
        lines = (self.stdout + self.stderr).splitlines()
        return "\n".join([f"$ {self.name} (exit code {self.exit_code})", *lines[-SHOWN_LINES:]])

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def wait(self, timeout: float) -> int:
        """Return the exit code; fail if the process does not end in time."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {timeout:.0f} s: {self.log}") from None

    def wait_until(
        self, condition: Callable[[], Found], what: str, *, timeout: float = 30
    ) -> Found:
        """As `wait_until`, but fail at once if the process ends."""

        def unless_ended() -> Found:
            if self.exit_code is not None:
                raise AssertionError(f"ended before {what}: {self.log}")
            return condition()

        return wait_until(unless_ended, what, timeout=timeout)

    def end(self) -> None:
        """Terminate it and every child that it left; insist after ten seconds."""
        self._signal_group(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._signal_group(signal.SIGKILL)
        self._process.wait(10)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def git(place: Path, *arguments: str) -> str:
    """Run git in a folder as a person would; return what it prints, or fail with what it says."""
    who = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=place, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def clone_working_tree(target: Path) -> Path:
    """Make `target` a git repository of the files that git tracks or would track here."""
    names = git(CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, names.split("\0")):
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((CHECKOUT / name).read_bytes())
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it stands"]):
        git(target, *arguments)
    return target


class StartProcess(Protocol):
    """Starts a command that is ended with the fixture's scope."""

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "",
    ) -> RunningProcess: ...
