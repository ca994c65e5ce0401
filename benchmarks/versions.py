"""A scratch workspace with two registered versions, of which one is in service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from benchmarks.scratch import TOOLS, MeasurementFailed, Run, Scratch
from benchmarks.workspaces import Workspace
from cracks.workspace.paths import Paths

#: Of the two trainings: every challenger may be registered.
EASY = ("register.limits={}",)
SECOND = ("-S", "train.seed=8", "-S", "register.verdicts.worse=ask")

#: Seconds that a server has to start.
STARTED_WITHIN = 120


@dataclass(frozen=True)
class Served:
    """A running service."""

    url: str
    process: Popen[bytes]


@dataclass(frozen=True)
class Versions:
    """The workspace; version 1 is its champion until something else is promoted."""

    scratch: Scratch
    paths: Paths

    def cracks(self, *arguments: str | Path) -> Run:
        """Run a command of `cracks` in the workspace."""
        self.scratch.tell(f"cracks {' '.join(map(str, arguments))}")
        return self.scratch.run(self._command(*arguments), self.paths.root)

    @contextmanager
    def served(self, *options: str) -> Iterator[Served]:
        """Yield the service of the workspace, open to everybody, on a free port."""
        output = self.scratch.temporary / "service"
        command = self._command("serve", "--open", "--port", "0", "--json", *options)
        with self.scratch.started(command, output, self.paths.root) as process:
            deadline = time.monotonic() + STARTED_WITHIN
            while not (said := _json_line(output)):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise MeasurementFailed(f"`cracks serve` did not start: {_last_line(output)}")
                time.sleep(0.05)
            yield Served(said["url"], process)

    def _command(self, *arguments: str | Path) -> list[str | Path]:
        return [TOOLS / "cracks", "-C", self.paths.root, *arguments]


def train_two_versions(
    scratch: Scratch, name: str, source: Path, assignments: Sequence[str]
) -> Versions:
    """Return a workspace called `name` in which two versions were trained on some photographs.

    Raises:
        MeasurementFailed: a training failed.
    """
    versions = Versions(scratch, Workspace(scratch, name, source, [*EASY, *assignments]).paths)
    root = versions.paths.root
    scratch.run(["git", "init", "--quiet"], root)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    scratch.run(["git", "add", "."], root)
    scratch.run(["git", *identity, "commit", "--quiet", "-m", "as it stands"], root)
    versions.cracks("train")
    versions.cracks("train", *SECOND)
    return versions


def _json_line(output: Path) -> dict[str, str]:
    for line in output.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith('{"url"'):
            said: dict[str, str] = json.loads(line)
            return said
    return {}


def _last_line(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
