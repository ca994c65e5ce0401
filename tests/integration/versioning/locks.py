"""Other processes that hold a lock of a workspace."""

from __future__ import annotations

import sys
from pathlib import Path

from processes import RunningProcess, StartProcess

OTHER_RUN = """
import sys, time
from pathlib import Path
from cracks.workspace.paths import Paths
from cracks.versioning.dvc_stages import locked_workspace
with locked_workspace(Paths(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(120)
"""

OTHER_DVC = """
import sys, time
from dvc.repo import Repo
with Repo(sys.argv[1]) as repo, repo.lock:
    print("held", flush=True)
    time.sleep(120)
"""


def hold(start: StartProcess, program: str, root: Path) -> RunningProcess:
    """Start a process that holds the lock of a workspace, and return when it does."""
    process = start([sys.executable, "-c", program, root])
    process.wait_until(lambda: "held" in process.stdout, "the lock")
    return process
