"""What the service tells of its earlier champions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cracks.errors import ServiceError
from cracks.inference.handover.promotion_history import FILE, TOLD, read_history, write_history
from cracks.registry.ledger import Entry
from tests.unit.builders import entry_after


def rows(count: int) -> list[dict[str, Any]]:
    """Return what is told of the first `count` promotions."""
    made: list[Entry] = []
    for number in range(1, count + 1):
        made.append(entry_after(made[-1] if made else None, str(number)))
    return [entry.history_row for entry in made]


def test_before_the_first_promotion_there_is_none(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []


def test_the_newest_comes_first_and_says_who_what_when_and_why(tmp_path: Path) -> None:
    write_history(tmp_path, rows(2))
    newest, oldest = read_history(tmp_path)
    assert newest == {
        "version": "2",
        "from_version": "1",
        "kind": "promote",
        "time": "2026-11-02T08:00:00+00:00",
        "who": "Ann",
        "why": "reason 2",
    }
    assert oldest["from_version"] is None


def test_only_the_last_changes_are_told(tmp_path: Path) -> None:
    write_history(tmp_path, rows(TOLD + 3))
    assert [row["version"] for row in read_history(tmp_path)] == [
        str(number) for number in range(TOLD + 3, 3, -1)
    ]


def test_a_damaged_file_says_what_writes_it_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[{", encoding="utf-8")
    with pytest.raises(ServiceError, match="next promotion rewrites it"):
        read_history(tmp_path)
