"""A workspace, and in it the real command line and services as processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from processes import TOOLS, RunningProcess, StartProcess

from tests.integration.services import ServiceProcess, make_workspace, serving

#: Starts a service that follows a folder, with options of `cracks serve`.
Serve: TypeAlias = Callable[..., AbstractContextManager[ServiceProcess]]
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


@pytest.fixture(scope="module")
def serve(start_for_module: StartProcess, workspace: Path) -> Serve:
    return partial(serving, start_for_module, workspace)
