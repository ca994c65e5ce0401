"""Ctrl-C ends a training at once, and nothing half-written is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import TOOLS, RunningProcess

from cracks.workspace.params_file import set_params
from tests.e2e.conftest import Workspace

pytestmark = pytest.mark.e2e


def test_ctrl_c_leaves_nothing_half_written(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    workspace = make_workspace()
    # Small shards: the first one comes soon, and there is a lot still to do.
    small = ["ingest.source=sample", "ingest.shard_rows=100"]
    set_params(workspace.root / "params.yaml", small)
    before = workspace.files()
    process = RunningProcess(
        [TOOLS / "cracks", "-C", workspace.root, "train"], tmp_path, variables=workspace.variables
    )
    try:
        partial = workspace.root / "data/.images.partial"
        process.wait_until(lambda: any(partial.glob("part-*")), "the first shard", timeout=120)
        # As a terminal does: to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.end()
    assert "Interrupted. Nothing half-written was left" in process.stderr
    assert "Traceback" not in process.stderr
    assert workspace.files() == before
