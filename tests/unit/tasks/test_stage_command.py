"""`python -m tasks STAGE`: what DVC calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cracks.versioning.dvc_stages import MESSAGE_FILE
from cracks.workspace.paths import STAGES
from tasks.__main__ import main
from tests.unit.builders import ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["nonsense"],
        ["split", "train"],
        [""],
        ["register"],
        ["promote"],
        ["__main__"],
    ],
)
def test_anything_but_one_stage_is_refused_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"usage: python -m tasks {{{','.join(STAGES)}}}"]


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
