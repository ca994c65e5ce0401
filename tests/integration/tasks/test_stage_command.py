"""`python -m tasks STAGE`: how a refusal reaches DVC."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cracks.versioning.dvc_stages import MESSAGE_FILE
from tests.unit.builders import ROOT


def _run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tasks", "split"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_refusal_is_one_line_and_exit_code_one(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "is no workspace" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_refusal_is_left_in_the_file_of_whoever_asks_for_it(tmp_path: Path) -> None:
    done = _run(tmp_path, **{MESSAGE_FILE: str(tmp_path / "message")})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert "is no workspace" in (tmp_path / "message").read_text()
