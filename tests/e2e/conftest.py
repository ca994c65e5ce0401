"""Workspaces to train in: clones of the working tree as it stands, committed or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import CHECKOUT, TOOLS, clone_working_tree, environment
from servers import PrefectServer

from cracks.workspace.params_file import set_params

SHARED = Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared"))


#: Makes evaluate short where something else is tested.
LITTLE_EVALUATION = [
    "evaluate.behaviour_patches=8",
    "evaluate.explained_patches=2",
    "evaluate.novelty.drawn_surfaces=1",
    "evaluate.resamples=200",
]


def shared_file(name: str) -> Path:
    """Return a file of the shared folder, or skip the test where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: it holds real input that is no part of the project")
    return path


@dataclass
class Workspace:
    """A clone, and the command line pointed at it."""

    root: Path
    variables: Mapping[str, str]

    def configure(self, *assignments: str) -> None:
        set_params(self.root / "params.yaml", assignments)

    def cracks(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(TOOLS / "cracks"), "-C", str(self.root), *map(str, arguments)]
        return self._run(command)

    def train(self, *assignments: str) -> subprocess.CompletedProcess[str]:
        options = [part for assignment in assignments for part in ("-S", assignment)]
        return self.cracks("train", "--json", *options)

    def trained(self, *assignments: str) -> dict[str, Any]:
        done = self.train(*assignments)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def reproduce(self, *stages: str) -> None:
        done = self.dvc("repro", *stages)
        assert done.returncode == 0, done.stderr

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("dvc", *arguments)

    def python(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", module, *arguments])

    def git(self, *arguments: str) -> str:
        return self._run(["git", *arguments]).stdout

    def report(self, stage: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.root / f"reports/{stage}.json").read_text())
        return content

    def files(self) -> dict[str, bytes]:
        """Return every file but those of git and DVC's own state."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
            and not {".git", "tmp", "__pycache__"} & set(path.relative_to(self.root).parts)
        }

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment(**self.variables),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )


@pytest.fixture(scope="module")
def make_workspace(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer
) -> Callable[[], Workspace]:
    """Return a function that makes another workspace."""

    def make() -> Workspace:
        root = clone_working_tree(tmp_path_factory.mktemp("workspace"))
        return Workspace(root, prefect_server.variables)

    return make
