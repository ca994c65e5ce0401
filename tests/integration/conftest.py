"""A workspace, and the real command line in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from processes import TOOLS, RunningProcess, StartProcess

from tests.integration.services import make_workspace

#: Runs `cracks` with a service folder and arguments until it ends.
RunCracks: TypeAlias = Callable[..., RunningProcess]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("workspace") / "root")


@pytest.fixture
def cracks(start: StartProcess, workspace: Path) -> RunCracks:
    def run(
        service: Path, *arguments: str | Path, wait: bool = True, **variables: str
    ) -> RunningProcess:
        process = start(
            [TOOLS / "cracks", "-C", workspace, *arguments],
            variables={"CRACKS_SERVICE_DIR": str(service), **variables},
        )
        if wait:
            process.wait(1500)  # pytest gives a test less, unless it is made large
        return process

    return run
