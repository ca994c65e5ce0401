"""A process killed while it writes loses nothing that was there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cracks.system.atomic_files import atomic_replace, restore
from tests.unit.builders import ROOT, tree
from tests.unit.system.test_atomic_files import NAMES, make_output


@pytest.fixture(params=NAMES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an output that is already there."""
    place = tmp_path / request.param
    make_output(place, "old")
    return place


def test_what_a_killed_process_left_is_cleared_by_the_next_run(old: Path) -> None:
    before = tree(old)
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from cracks.system.atomic_files import atomic_replace\n"
        "with atomic_replace(Path(sys.argv[1])) as partial:\n"
        "    partial.mkdir(); (partial / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(old)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert tree(old) == before
    with atomic_replace(old) as partial:
        assert not partial.exists()
        make_output(partial, "new")
    assert [path.name for path in old.parent.iterdir()] == [old.name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that was about to be replaced: a neighbour is the new one."""
    make_output(tmp_path / "folder", "old")
    make_output(tmp_path / ".folder.partial", "new")
    return tmp_path / "folder"


@pytest.mark.parametrize("renames", [1, 2])
def test_a_process_killed_between_two_renames_loses_neither_folder(
    folder: Path, renames: int
) -> None:
    """What is killed really is: no exception, no `finally`."""
    old = tree(folder)
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from cracks.system.atomic_files import atomic_replace\n"
        "move, left = os.replace, int(sys.argv[2])\n"
        "def replace(*arguments):\n"
        "    global left\n"
        "    move(*arguments); left -= 1\n"
        "    left or os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.replace = replace\n"
        "with atomic_replace(Path(sys.argv[1])) as partial:\n"
        "    partial.mkdir(); (partial / 'whole').touch()"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(renames)], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert folder.exists() == (renames == 2)
    restore(folder)
    assert tree(folder) == (old if renames == 1 else {"whole": b""})
