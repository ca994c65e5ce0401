"""The record of predictions on real disks, in real processes and in a real bucket."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from disks import mounted_disk
from processes import CHECKOUT, RunningProcess, StartProcess, wait_until
from s3 import Response, S3Proxy, S3Server, slow_down

from cracks.monitoring.prediction_log import background_jobs as chores
from cracks.monitoring.prediction_log import uploads
from cracks.monitoring.prediction_log.buffer import BYTES_OF_PREDICTION
from cracks.monitoring.prediction_log.part_files import PartFolder
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.monitoring.prediction_log.recorder import Recorder
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.storage import client
from tests.unit.monitored import prediction


def numbered(number: int, name: str = "") -> RecordedPrediction:
    """Return a prediction of now, whose score tells its number."""
    sketch = np.random.default_rng(number).normal(0, 1, 64).astype(np.float32)
    known = {"score": number / 1e6, "novelty": 0.25, "novel": False, "sketch": sketch}
    return prediction(datetime.now(UTC), f"{name}-{number}", **known)


def rows_of(place: str | Path, spool: Path | None = None) -> Counter[str]:
    """Return how often each prediction is in the record, by the image that it is for."""
    day = timedelta(days=1)
    now = datetime.now(UTC)
    tables = PredictionLog(place, spool).read(now - day, now + day, columns=["image_sha256"])
    return Counter(digest for table in tables for digest in table["image_sha256"].to_pylist())


def parts_in(place: Path) -> int:
    folder = PartFolder(place)
    return sum(len(folder.parts(day)) for day in folder.days())


# --- processes that are killed --------------------------------------------------------------------

#: Records predictions without end, and says after each which one it was, and when.
PROGRAM = """
import sys, time
from pathlib import Path
from cracks.monitoring.prediction_log.recorder import Recorder
from tests.integration.monitoring.test_prediction_log import numbered

place, name, flush_interval, tidy_interval, count = sys.argv[1:]
with Recorder(
    Path(place), flush_interval=float(flush_interval), tidy_interval=float(tidy_interval)
) as recorder:
    for number in range(int(count)):
        one = numbered(number, name)
        recorder.add(one)
        print(one.image_sha256, time.time(), flush=True)
        time.sleep(0.001)
"""


def record(
    start: StartProcess,
    place: Path,
    name: str,
    *,
    flush_interval: float,
    tidy_interval: float = 60,
    count: int = 1_000_000,
) -> RunningProcess:
    arguments = [str(place), name, str(flush_interval), str(tidy_interval), str(count)]
    places = [str(CHECKOUT), str(CHECKOUT / "tests")]
    return start(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places}{PROGRAM}", *arguments],
        name=f"recorder {name}",
    )


def said(process: RunningProcess) -> dict[str, float]:
    """Return what a process has recorded, and when; its last line may be cut."""
    lines = [line.split() for line in process.stdout.splitlines(keepends=True) if "\n" in line]
    return {digest: float(moment) for digest, moment in lines}


def merging(place: Path) -> set[str]:
    """Return the names of the processes that have merged parts."""
    folder = PartFolder(place)
    parts = [part for day in folder.days() for part in folder.parts(day)]
    return {part.process for part in parts if part.last > part.first}


def kill(process: RunningProcess) -> float:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    return time.time()


@pytest.mark.slow
def test_of_processes_side_by_side_a_killed_one_loses_what_came_after_its_last_flush(
    start: StartProcess, tmp_path: Path
) -> None:
    interval = 0.4
    killed = record(start, tmp_path, "killed", flush_interval=interval)
    others = [
        record(start, tmp_path, name, flush_interval=0.02, tidy_interval=0.1, count=300)
        for name in ("first", "second")
    ]
    for process in others:
        assert process.wait(60) == 0, process.log
    killed.wait_until(lambda: len(said(killed)) > 2000, "two seconds of predictions")
    end = kill(killed)
    recorded = rows_of(tmp_path)
    safe = [digest for digest, moment in said(killed).items() if moment < end - interval - 1]
    assert len(safe) > 10
    whole = {digest for process in others for digest in said(process)}
    assert len(whole) == 600
    assert whole.union(safe) <= set(recorded)
    assert set(recorded.values()) == {1}


@pytest.mark.slow
def test_processes_that_are_killed_while_they_merge_leave_every_row_once(
    start: StartProcess, tmp_path: Path
) -> None:
    given: dict[str, float] = {}
    for number in range(2):
        process = record(start, tmp_path, f"{number}", flush_interval=0.005, tidy_interval=0.01)
        process.wait_until(lambda: len(merging(tmp_path)) > number, "a merge")  # noqa: B023
        time.sleep(0.05 * number)  # killed at another moment each time
        kill(process)
        given |= said(process)
    recorded = rows_of(tmp_path)
    assert set(recorded.values()) == {1}
    assert len(recorded) > 200
    # What is missing are the last moments of each process.
    assert len(set(given) - set(recorded)) < 3 * 100


# --- disks ----------------------------------------------------------------------------------------


def test_on_a_full_disk_predictions_wait_in_bounded_memory_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fitting = (1 << 19) // BYTES_OF_PREDICTION
    some = [numbered(number) for number in range(300)]
    with mounted_disk(tmp_path / "disk", "512k") as disk:
        filling = disk / "somebody else's"
        filling.write_bytes(bytes(500 * 1024))
        with Recorder(
            disk / "answers", flush_interval=0.05, most_bytes_waiting=1 << 19
        ) as recorder:
            for one in some:
                recorder.add(one)
            wait_until(lambda: recorder.last_problem, "the full disk")
            assert "No space left" in (recorder.last_problem or "")
            # Those that it just tries to write are not counted until they are back.
            wait_until(lambda: recorder.dropped == 300 - fitting, "the oldest to be dropped")
            time.sleep(0.3)  # more attempts
            assert recorder.written == 0
            assert len(recorder.recent(500)) == fitting  # from memory
            filling.unlink()
            wait_until(lambda: recorder.written == fitting, "the predictions")
            wait_until(lambda: recorder.last_problem is None, "the end of the problem")
        assert rows_of(disk / "answers") == Counter(one.image_sha256 for one in some[-fitting:])
        assert list(disk.rglob("*.partial")) == []
    assert recorder.dropped == 300 - fitting
    assert len([line for line in caplog.records if "No space left" in line.message]) == 1


def test_the_record_is_bounded_on_the_disk(tmp_path: Path) -> None:
    bound = 512 * 1024
    largest = 0
    with Recorder(tmp_path, flush_interval=0.01, tidy_interval=0.01, most_bytes=bound) as recorder:
        for number in range(4000):
            recorder.add(numbered(number))
            if number % 100 == 99:
                wait_until(lambda: not recorder.waiting, "the flush", interval=0.005)
                largest = max(largest, disk_usage(tmp_path))
    assert bound / 2 < largest <= bound
    newest = PredictionLog(tmp_path).recent(100)
    assert [round(one.score * 1e6) for one in newest] == list(range(3999, 3899, -1))


def disk_usage(place: Path) -> int:
    sizes = []
    for file in place.rglob("*.parquet"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:
            continue
    return sum(sizes)


# --- what it costs --------------------------------------------------------------------------------


def test_recording_takes_microseconds_and_closing_writes_few_bytes(tmp_path: Path) -> None:
    some = [numbered(number) for number in range(1000)]
    with Recorder(tmp_path, flush_interval=60) as recorder:
        times = []
        for one in some:
            begin = time.perf_counter()
            recorder.add(one)
            times.append(time.perf_counter() - begin)
        assert PredictionLog(tmp_path).recent(1) == []
    assert len(rows_of(tmp_path)) == 1000
    assert statistics.median(times) < 50e-6
    assert disk_usage(tmp_path) / 1000 < 300


# --- a bucket -------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3_proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    monkeypatch.setattr(chores, "FIRST_PAUSE", 0.05)
    return s3_proxy


@pytest.fixture
def bucket(s3_server: S3Server, proxy: S3Proxy) -> Path:
    return s3_server.new_bucket()


def test_predictions_go_to_the_bucket_and_are_read_from_there(bucket: Path, tmp_path: Path) -> None:
    place = f"s3://{bucket.name}/answers"
    some = [numbered(number) for number in range(50)]
    with Recorder(place, spool=tmp_path, flush_interval=0.05, tidy_interval=0.2) as recorder:
        for one in some[:25]:
            recorder.add(one)
            time.sleep(0.01)
        wait_until(lambda: list(bucket.rglob("*.parquet")), "an object")
        for one in some[25:]:
            recorder.add(one)
        expected = [one.prediction_id for one in some][::-1]
        assert [one.prediction_id for one in recorder.recent(500)] == expected
    assert recorder.last_problem is None
    assert parts_in(tmp_path) == 0
    assert [one.prediction_id for one in PredictionLog(place).recent(500)] == expected
    assert rows_of(place) == Counter(one.image_sha256 for one in some)
    found = PredictionLog(place).find(some[7].prediction_id)
    assert found is not None
    assert found.image_sha256 == some[7].image_sha256


def test_a_bucket_that_refuses_is_tried_again_and_nothing_is_lost(
    bucket: Path, proxy: S3Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = f"s3://{bucket.name}/answers"

    def refuse(request: str, sound: Response) -> Response:
        return slow_down() if request.startswith("PUT") else sound

    proxy.spoil = refuse
    with Recorder(place, spool=tmp_path, flush_interval=0.02, tidy_interval=0.05) as recorder:
        for number in range(60):
            recorder.add(numbered(number))
            time.sleep(0.005)
        wait_until(lambda: recorder.last_problem, "the problem")
        assert "the storage refuses for now" in (recorder.last_problem or "")
        wait_until(lambda: recorder.written == 60, "the spool")
        proxy.spoil = None
        wait_until(lambda: recorder.last_problem is None, "the end of the problem")
    # Some of the refused ones may have been stored all the same: they count once.
    assert set(rows_of(place).values()) == {1}
    assert len(rows_of(place)) == 60
    assert parts_in(tmp_path) == 0
    errors = [one.message for one in caplog.records if one.levelname == "ERROR"]
    assert len([one for one in errors if "for their upload" in one]) == 1


def test_what_a_killed_process_left_in_the_spool_is_read_there_and_uploaded_by_another_one(
    bucket: Path, tmp_path: Path
) -> None:
    place = f"s3://{bucket.name}/answers"
    with Recorder(tmp_path, flush_interval=60) as killed:
        killed.add(numbered(1))
    assert PredictionLog(place).recent(5) == []
    assert len(PredictionLog(place, tmp_path).recent(5)) == 1
    for file in tmp_path.rglob("*.parquet"):
        long_ago = time.time() - uploads.LEFT_AFTER - 1
        os.utime(file, (long_ago, long_ago))
    with Recorder(place, spool=tmp_path, tidy_interval=0.05):
        wait_until(lambda: parts_in(tmp_path) == 0, "the upload")
    assert len(PredictionLog(place).recent(5)) == 1
