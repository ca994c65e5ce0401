"""A scratch workspace with two registered versions, of which one is in service."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scratch import Run, Scratch, tool
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
    pid: int


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
        command = self._command("serve", "--open", "--port", "0", "--json", *options)
        with self.scratch.started("cracks-serve", command, self.paths.root) as started:
            told = started.wait_until(_json_line, "its address", STARTED_WITHIN)
            yield Served(told["url"], started.process.pid)

    def _command(self, *arguments: str | Path) -> list[str]:
        return tool("cracks", "-C", self.paths.root, *arguments)


def train_two_versions(
    scratch: Scratch, name: str, source: Path, assignments: Sequence[str]
) -> Versions:
    """Return a workspace called `name` in which two versions were trained on some photographs.

    Raises:
        MeasurementFailed: a training failed.
    """
    workspace = Workspace(scratch, name, source, [*EASY, *assignments])
    workspace.commit()
    versions = Versions(scratch, workspace.paths)
    versions.cracks("train")
    versions.cracks("train", *SECOND)
    return versions


def _json_line(said: str) -> dict[str, str]:
    for line in said.splitlines():
        if line.startswith('{"url"'):
            told: dict[str, str] = json.loads(line)
            return told
    return {}
