"""Service reports: a promotion knows which processes serve the new champion."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from cracks.errors import ServiceError
from cracks.inference.handover.service_processes import (
    FOLDER,
    STALE_AFTER,
    ServiceReporter,
    living_processes,
    wait_for_service,
)
from tests.unit.builders import champion_of

OLD, NEW = champion_of("1"), champion_of("2")


def test_without_a_service_nobody_is_waited_for(tmp_path: Path) -> None:
    assert wait_for_service(tmp_path, NEW, timeout=0) == []


def test_a_service_that_serves_the_champion_is_named(tmp_path: Path) -> None:
    ServiceReporter(tmp_path).tell(NEW, None, None)
    (process,) = wait_for_service(tmp_path, NEW, timeout=0)
    assert process.endswith(f"-{os.getpid()}")


def test_a_service_that_still_loads_is_waited_for(tmp_path: Path) -> None:
    reporter = ServiceReporter(tmp_path)
    reporter.tell(OLD, None, None)
    loaded = threading.Timer(0.2, lambda: reporter.tell(NEW, None, None))
    loaded.start()
    begin = time.monotonic()
    assert len(wait_for_service(tmp_path, NEW, timeout=20)) == 1
    assert time.monotonic() - begin > 0.1
    loaded.join()


def test_a_service_that_stays_with_the_old_champion_is_an_error_in_the_end(tmp_path: Path) -> None:
    ServiceReporter(tmp_path).tell(OLD, None, None)
    with pytest.raises(ServiceError, match="did not switch to version 2 within 0 s"):
        wait_for_service(tmp_path, NEW, timeout=0)


def test_a_refusal_is_an_error_at_once_with_the_reason_of_the_service(tmp_path: Path) -> None:
    ServiceReporter(tmp_path).tell(OLD, NEW, "no memory left")
    with pytest.raises(ServiceError, match="no memory left"):
        wait_for_service(tmp_path, NEW, timeout=20)


def test_a_service_that_is_only_ready_for_the_champion_is_waited_for(tmp_path: Path) -> None:
    ServiceReporter(tmp_path).tell(OLD, None, None, prepared=NEW)
    assert [one.prepared for one in living_processes(tmp_path)] == [NEW]
    with pytest.raises(ServiceError, match="did not switch to version 2"):
        wait_for_service(tmp_path, NEW, timeout=0)


def test_a_process_sees_the_reports_of_all_others_that_live(tmp_path: Path) -> None:
    mine = ServiceReporter(tmp_path)
    mine.tell(OLD, None, None)
    assert mine.others() == []
    other = ServiceReporter(tmp_path, "other-1")
    other.tell(OLD, None, None, prepared=NEW)
    assert [one.process for one in mine.others()] == ["other-1"]
    other.end()
    assert mine.others() == []


def test_a_report_of_a_release_without_preparation_is_read(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "other-1.json").write_text('{"process": "other-1"}')
    assert [one.prepared for one in living_processes(tmp_path)] == [None]


def test_the_refusal_of_another_champion_does_not_count(tmp_path: Path) -> None:
    ServiceReporter(tmp_path).tell(NEW, OLD, "damaged")
    assert len(wait_for_service(tmp_path, NEW, timeout=0)) == 1


def test_a_process_that_was_killed_is_forgotten(tmp_path: Path) -> None:
    ServiceReporter(tmp_path).tell(OLD, None, None)
    (file,) = (tmp_path / FOLDER).iterdir()
    long_ago = time.time() - STALE_AFTER - 1
    os.utime(file, (long_ago, long_ago))
    assert living_processes(tmp_path) == []


def test_a_process_that_lives_but_has_no_news_is_not_forgotten(tmp_path: Path) -> None:
    reporter = ServiceReporter(tmp_path)
    reporter.tell(OLD, None, None)
    (file,) = (tmp_path / FOLDER).iterdir()
    os.utime(file, (0, 0))
    reporter.tell(OLD, None, None)
    assert [one.champion for one in living_processes(tmp_path)] == [OLD]


def test_a_process_that_ends_takes_its_report_away(tmp_path: Path) -> None:
    reporter = ServiceReporter(tmp_path)
    reporter.tell(OLD, None, None)
    reporter.end()
    assert list((tmp_path / FOLDER).iterdir()) == []
    reporter.end()


@pytest.mark.parametrize("content", [b"", b"{", b'{"other": 1}', b"\xff"])
def test_a_report_that_cannot_be_read_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "other-1.json").write_bytes(content)
    assert living_processes(tmp_path) == []
