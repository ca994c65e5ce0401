"""Progress: a bar for a person, a line now and then for a log."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from cracks.system import console as module
from cracks.system.console import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_at_the_end_of_quick_work(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2000, "reading", "images") as advance:
        for _ in range(4):
            advance(500)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("  reading: 2,000 of 2,000 (")
    assert err.endswith(" images/s)\n")
    assert err.count("\n") == 1


def test_a_log_hears_of_slow_work_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_INTERVAL", 0.0)
    with progress(2, "reading", "images") as advance:
        advance(1)
        advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "  reading: 1 of 2",
        "  reading: 2 of 2",
        "  reading: 2 of 2",
    ]


def test_a_person_sees_a_bar_that_ends_where_the_work_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress(3, "reading", "images") as advance:
        for _ in range(3):
            advance(1)
    assert "reading" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_another_process_reads_how_far_the_work_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_INTERVAL", 0.0)
    monkeypatch.setenv(module.PROGRESS_FILE, str(tmp_path / "progress"))
    with progress(4000, "features", "patches") as advance:
        for step, done in ((1000, 1000), (3000, 4000)):
            advance(step)
            found = json.loads((tmp_path / "progress").read_text())
            assert found == {"description": "features", "done": done, "total": 4000}


def test_work_without_anything_to_do_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(0, "reading", "images"):
        pass
    assert capsys.readouterr().err.startswith("  reading: 0 of 0 (")
