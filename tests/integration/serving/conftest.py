"""Services as processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from processes import StartProcess

from tests.integration.services import ServiceProcess, serving

#: Starts a service that follows a folder, with options of `cracks serve`.
Serve: TypeAlias = Callable[..., AbstractContextManager[ServiceProcess]]


@pytest.fixture(scope="module")
def serve(start_for_module: StartProcess, workspace: Path) -> Serve:
    return partial(serving, start_for_module, workspace)
