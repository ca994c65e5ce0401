"""Scratch workspaces: the files of this checkout as it stands, committed or not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.photographs import CHECKOUT
from benchmarks.scratch import Run, Scratch
from cracks.system.atomic_files import atomic_replace, remove
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_json

#: What stages write to, and what DVC remembers of earlier runs.
OUTPUTS = ("data", "logs", "models", "reports", "dvc.lock", ".dvc/cache", ".dvc/tmp")


class Workspace:
    """A copy of the checkout in which stages run on some photographs."""

    def __init__(
        self, scratch: Scratch, name: str, source: Path, assignments: Sequence[str] = ()
    ) -> None:
        """Copy the checkout to the scratch folder `name`.

        Args:
            scratch: where everything happens.
            name: of the folder.
            source: what `ingest.source` points to.
            assignments: further parameters, as `featurize.image_size=160`.
        """
        self._scratch, self.paths = scratch, Paths(scratch.place / name)
        shutil.copytree(_checkout(scratch.place / "checkout"), self.paths.root)
        self.clear()
        set_params(self.paths.params, [f"ingest.source={json.dumps(str(source))}", *assignments])

    def run(self, stage: str) -> Run:
        """Run a stage as DVC does.

        Raises:
            MeasurementFailed: it refuses.
        """
        return self._run_module("tasks", stage)

    def run_all(self, stages: Sequence[str]) -> dict[str, Run]:
        """Run stages one after the other, from nothing."""
        self.clear()
        return {stage: self.run(stage) for stage in stages}

    def reproduce(self, *assignments: str) -> Run:
        """Change some parameters, then bring everything up to date by DVC.

        Raises:
            MeasurementFailed: a stage refuses.
        """
        set_params(self.paths.params, assignments)
        return self._run_module("dvc", "repro")

    def timed(self, what: str, *arguments: object, **variables: str) -> dict[str, Any]:
        """Return what `benchmarks.timings` prints of this workspace, in a process of its own."""
        return self._run_module("benchmarks.timings", what, *arguments, **variables).found

    def report(self, stage: str) -> dict[str, Any]:
        """Return what a stage reported."""
        return read_json(self.paths.report(stage))

    def clear(self) -> None:
        """Remove what stages wrote; the compiled code stays, as it does for a user."""
        for name in OUTPUTS:
            remove(self.paths.root / name)

    def commit(self) -> None:
        """Make it a git repository of its files as they stand."""
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        commit = [*identity, "commit", "--quiet", "-m", "as it stands"]
        for arguments in (["init", "--quiet"], ["add", "."], commit):
            self._scratch.run(["git", *arguments], self.paths.root)

    def _run_module(self, module: str, *arguments: object, **variables: str) -> Run:
        self._scratch.tell(f"{self.paths.root.name}: {arguments[0]}")
        return self._scratch.run_module(module, *arguments, cwd=self.paths.root, **variables)


def _checkout(copy: Path) -> Path:
    """Return `copy`, made at the first call: somebody may go on editing while this measures."""
    if copy.is_dir():
        return copy
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    with atomic_replace(copy) as partial:
        for name in filter(None, names):
            if (CHECKOUT / name).is_file():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CHECKOUT / name, partial / name)
    return copy
