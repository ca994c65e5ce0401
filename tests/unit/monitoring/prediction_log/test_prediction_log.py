"""The prediction log: every row comes back once, whatever was merged, cut short or damaged."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial.distance import pdist

from cracks.errors import TrackingError
from cracks.monitoring.prediction_log.buffer import BYTES_OF_PREDICTION, PredictionBuffer
from cracks.monitoring.prediction_log.compaction import (
    GIVEN_UP_AFTER,
    MERGED_AT_A_TIME,
    clear_leftovers,
    is_over,
    make_room,
    merge_hour,
    planned_merges,
)
from cracks.monitoring.prediction_log.feature_projection import DIMENSIONS, sketch
from cracks.monitoring.prediction_log.locations import PLACE_VARIABLE, place_of_log
from cracks.monitoring.prediction_log.part_files import (
    Part,
    PartFolder,
    parse_part,
    parts_that_count,
    process_name,
)
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.monitoring.prediction_log.recorder import FLUSH_INTERVAL, Recorder
from cracks.monitoring.prediction_log.schema import (
    SCHEMA,
    SHORT_COLUMNS,
    RecordedPrediction,
    as_predictions,
    as_table,
)
from tests.unit.monitored import NOON, prediction

SECOND = timedelta(seconds=1)
PROCESS = "web7-4711-qkzmwe"


def predictions(
    count: int, begin: datetime = NOON, step: timedelta = SECOND
) -> list[RecordedPrediction]:
    return [prediction(begin + number * step) for number in range(count)]


def ids(some: Iterable[RecordedPrediction]) -> list[str]:
    return [one.prediction_id for one in some]


def ids_in(tables: Iterable[pa.Table]) -> list[str]:
    return [id_ for table in tables for id_ in table["prediction_id"].to_pylist()]


def all_ids(place: Path) -> list[str]:
    since, until = NOON - timedelta(days=400), NOON + timedelta(days=400)
    return ids_in(PredictionLog(place).read(since, until))


@pytest.fixture
def folder(tmp_path: Path) -> PartFolder:
    return PartFolder(tmp_path / "answers")


def written(folder: PartFolder, groups: Sequence[Sequence[RecordedPrediction]]) -> list[Part]:
    return [
        folder.write(as_table(group), PROCESS, number) for number, group in enumerate(groups, 1)
    ]


def parts_of(
    folder: PartFolder, count: int, rows: int, step: timedelta
) -> tuple[list[list[RecordedPrediction]], list[Part]]:
    """Write parts of some rows, the first of each `step` after that of the one before."""
    groups = [predictions(rows, NOON + number * step) for number in range(count)]
    return groups, written(folder, groups)


# --- rows -----------------------------------------------------------------------------------------


def test_a_prediction_comes_back_as_it_was_given() -> None:
    photograph = prediction(
        NOON + timedelta(microseconds=417_003),
        kind="inspect",
        novelty=0.25,
        novel=False,
        crack_share=0.03,
        sketch=np.arange(DIMENSIONS, dtype=np.float32),
        image=b"\xff\xd8",
    )
    plain = prediction()
    back = as_predictions(as_table([plain, photograph]))
    assert back[0] == plain
    np.testing.assert_array_equal(back[1].sketch, photograph.sketch)
    assert dataclasses.replace(back[1], sketch=None) == dataclasses.replace(photograph, sketch=None)


@pytest.mark.parametrize("with_sketch", list(itertools.product([True, False], repeat=3)))
def test_predictions_with_and_without_a_sketch_keep_their_own(with_sketch: Sequence[bool]) -> None:
    sketches = [
        np.full(DIMENSIONS, n, np.float32) if has else None for n, has in enumerate(with_sketch)
    ]
    back = as_predictions(as_table([prediction(sketch=one) for one in sketches]))
    assert [one.sketch is not None for one in back] == list(with_sketch)
    assert [float(one.sketch[0]) for one in back if one.sketch is not None] == [
        n for n, has in enumerate(with_sketch) if has
    ]


def test_a_sketch_that_half_a_float_cannot_hold_stays_finite() -> None:
    (back,) = as_predictions(as_table([prediction(sketch=np.full(DIMENSIONS, -1e9, np.float32))]))
    assert back.sketch is not None
    assert np.isfinite(back.sketch).all()


@pytest.mark.parametrize(
    "changes",
    [{"score": None}, {"score": "high"}, {"run_id": None}, {"sketch": np.zeros(3, np.float32)}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_no_prediction_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_table([prediction(), prediction(**changes)])


# --- sketches -------------------------------------------------------------------------------------


def test_a_sketch_keeps_the_distances_between_features() -> None:
    rng = np.random.default_rng(1)
    features = np.float32(rng.gamma(1, 1, (60, 1280)))
    ratio = pdist(sketch(features)) / pdist(features)
    # √(1/(2·64)) = 9 % is what theory says of the spread.
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert ratio.std() == pytest.approx(0.09, abs=0.03)


def test_the_directions_are_the_same_everywhere_and_for_ever() -> None:
    ramp = np.linspace(0, 1, 1280, dtype=np.float32)[None]
    assert sketch(ramp)[0, :4] == pytest.approx(EXPECTED, abs=1e-3)


#: Computed when the seed was fixed: sketches in records depend on it.
EXPECTED = [-1.3554, -0.2371, 3.0337, -1.9128]


def test_sketches_of_a_batch_are_those_of_its_rows() -> None:
    features = np.float32(np.random.default_rng(2).normal(0, 1, (5, 96)))
    assert sketch(features).shape == (5, DIMENSIONS)
    assert sketch(features).dtype == np.float32
    np.testing.assert_allclose(sketch(features)[3:4], sketch(features[3:4]), atol=1e-5)


# --- names of parts -------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [7, 36, 1_000_007])
def test_the_name_of_a_part_says_what_it_holds(last: int) -> None:
    part = Part("20261121T161422417Z", "20261121T161426003Z", PROCESS, 7, last)
    assert parse_part(part.name) == part
    assert part.path.startswith("2026-11-21/20261121T161422417Z-161426003Z-web7-4711-qkzmwe-000007")


@pytest.mark.parametrize(
    "name",
    ["notes.txt", ".20261121T161422417Z-161426003Z-web7-4711-qkzmwe-000007.parquet.partial", ""],
)
def test_other_files_are_no_parts(name: str) -> None:
    assert parse_part(name) is None


def test_every_start_of_a_process_has_a_name_of_its_own() -> None:
    names = {process_name() for _ in range(100)}
    assert len(names) == 100
    assert all(parse_part(Part(*TIMES, name, 1, 1).name) for name in names)


TIMES = ("20261121T161422417Z", "20261121T161426003Z")


def test_a_part_counts_no_more_once_a_merged_one_covers_it() -> None:
    single = [Part(*TIMES, PROCESS, number, number) for number in range(1, 6)]
    merged = Part(*TIMES, PROCESS, 1, 4)
    assert parts_that_count([*single, merged]) == [merged, single[4]]
    whole = Part(*TIMES, PROCESS, 1, 5)
    assert parts_that_count([*single, merged, whole]) == [whole]


def test_parts_of_another_process_or_hour_are_not_covered() -> None:
    merged = Part(*TIMES, PROCESS, 1, 4)
    others = [
        Part(*TIMES, "web7-4711-other", 2, 2),
        Part("20261121T170000000Z", "20261121T170000000Z", PROCESS, 2, 2),
    ]
    assert set(parts_that_count([merged, *others])) == {merged, *others}


# --- merging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 4, 5])
def test_a_merge_that_was_killed_at_any_moment_leaves_every_row_once(
    folder: PartFolder, tmp_path: Path, left: int
) -> None:
    groups, parts = parts_of(folder, 5, 3, 4 * SECOND)
    before = tmp_path / "before"
    shutil.copytree(folder.folder, before)
    merged = folder.merge(parts)
    assert (merged.first, merged.last) == (1, 5)
    for part in parts[:left]:  # which it had not come to remove
        shutil.copy(before / part.path, folder.file(part))
    expected = sorted(ids(chain(*groups)))
    assert sorted(all_ids(folder.folder)) == expected
    assert len(PredictionLog(folder.folder).recent(500)) == len(expected)
    clear_leftovers(folder)
    assert folder.parts("2026-11-21") == [merged]
    assert sorted(all_ids(folder.folder)) == expected


def test_single_parts_of_the_running_hour_are_merged_when_they_are_many() -> None:
    few = dict.fromkeys(single_parts(MERGED_AT_A_TIME - 1), 1000)
    assert planned_merges(few, over=False) == []
    many = single_parts(MERGED_AT_A_TIME)
    assert planned_merges(dict.fromkeys(many, 1000), over=False) == [many]


def single_parts(count: int, first: int = 1) -> list[Part]:
    return [Part(*TIMES, PROCESS, number, number) for number in range(first, first + count)]


def test_only_what_comes_after_all_merged_parts_is_merged_before_the_hour_is_over() -> None:
    """A part between two merged ones would be put together with what they cover."""
    early, between = Part(*TIMES, PROCESS, 1, 30), Part(*TIMES, PROCESS, 31, 31)
    late, single = Part(*TIMES, PROCESS, 32, 60), single_parts(MERGED_AT_A_TIME, 61)
    sizes = dict.fromkeys([early, between, late, *single], 1000)
    assert planned_merges(sizes, over=False) == [single]
    assert planned_merges(sizes, over=True) == [[early, between, late, *single]]


def test_what_is_merged_stays_within_the_largest_part() -> None:
    parts = single_parts(5)
    sizes = dict(zip(parts, [400, 400, 400, 2000, 100], strict=True))
    assert planned_merges(sizes, over=True, largest=1000) == [parts[:2]]


def test_an_hour_is_over_when_no_late_prediction_is_to_be_expected() -> None:
    assert not is_over("20261121T11", NOON + 30 * SECOND)
    assert is_over("20261121T11", NOON + 60 * SECOND)


def test_an_hour_becomes_one_part(folder: PartFolder) -> None:
    groups, parts = parts_of(folder, 2 * MERGED_AT_A_TIME + 5, 2, 4 * SECOND)
    hour, last = parts[0].hour, len(parts)
    merge_hour(folder, hour, PROCESS, last, over=False)
    assert len(folder.parts("2026-11-21")) == 1  # all were single and many
    folder.write(as_table(predictions(1)), PROCESS, last + 1)
    merge_hour(folder, hour, PROCESS, last + 1, over=False)
    assert len(folder.parts("2026-11-21")) == 2
    merge_hour(folder, hour, PROCESS, last, over=True)
    assert len(folder.parts("2026-11-21")) == 2  # it may still lack one before it
    merge_hour(folder, hour, PROCESS, last + 1, over=True)
    assert len(folder.parts("2026-11-21")) == 1
    assert len(all_ids(folder.folder)) == 2 * len(groups) + 1


def test_the_parts_of_others_are_left_to_them(folder: PartFolder) -> None:
    parts = written(folder, [predictions(1), predictions(1)])
    merge_hour(folder, parts[0].hour, "web7-4712-abcdef", 2, over=True)
    assert len(folder.parts("2026-11-21")) == 2


# --- room -----------------------------------------------------------------------------------------


def test_the_oldest_parts_make_room(folder: PartFolder) -> None:
    groups, parts = parts_of(folder, 8, 20, timedelta(hours=5))
    size = sum(folder.bytes_of(parts).values())
    removed = make_room(folder, size // 2)
    assert sum(folder.bytes_of(parts).values()) <= size // 2
    assert sorted(all_ids(folder.folder)) == sorted(ids(chain(*groups[removed:])))
    assert "2026-11-21" not in folder.days()  # a day without parts has no folder
    assert make_room(folder, size // 2) == 0
    assert make_room(PartFolder(folder.folder / "absent"), 1) == 0


def test_what_a_killed_process_was_writing_is_cleared_but_not_what_another_one_writes(
    folder: PartFolder,
) -> None:
    (part,) = written(folder, [predictions(1)])
    old, new = (folder.file(part).with_name(f".{name}.parquet.partial") for name in "ab")
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, datetime.now(UTC).timestamp() - GIVEN_UP_AFTER - 1))
    clear_leftovers(folder)
    assert (old.exists(), new.exists()) == (False, True)
    assert folder.parts("2026-11-21") == [part]


# --- in memory ------------------------------------------------------------------------------------


def test_when_memory_is_short_the_oldest_predictions_go_and_are_counted() -> None:
    buffer = PredictionBuffer(3 * BYTES_OF_PREDICTION)
    some = predictions(5)
    for one in some:
        buffer.add(one)
    assert ids(buffer.predictions) == ids(some[2:])
    assert buffer.dropped == 2
    buffer.add(prediction(image=bytes(4 * BYTES_OF_PREDICTION)))  # which counts with its bytes
    assert buffer.predictions == []
    assert buffer.dropped == 6


def test_what_could_not_be_written_comes_before_what_came_later() -> None:
    buffer = PredictionBuffer(100 * BYTES_OF_PREDICTION)
    some = predictions(4)
    for one in some[:3]:
        buffer.add(one)
    taken = buffer.take()
    buffer.add(some[3])
    assert ids(buffer.predictions) == ids(some)  # also while it is being written
    buffer.put_back(taken[1:])
    assert ids(buffer.predictions) == ids(some[1:])


def test_a_prediction_is_on_the_disk_within_five_seconds() -> None:
    assert FLUSH_INTERVAL <= 4  # one second is left for writing


def test_one_prediction_that_is_none_stops_no_other(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "answers")
    for one in (prediction(), prediction(score="high"), prediction()):
        recorder.add(one)
    recorder.close()
    assert (recorder.written, recorder.dropped, recorder.last_problem) == (2, 1, None)


def test_predictions_about_the_hour_go_to_the_parts_of_their_hours(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for one in predictions(4, NOON - 2 * SECOND):
        recorder.add(one)
    recorder.close()
    hours = [part.hour for part in PartFolder(tmp_path).parts("2026-11-21")]
    assert sorted(hours) == ["20261121T11", "20261121T12"]
    assert len(all_ids(tmp_path)) == 4


# --- reading --------------------------------------------------------------------------------------


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert PredictionLog(tmp_path / "absent").recent(5) == []
    assert PredictionLog(tmp_path / "absent").find(prediction().prediction_id) is None
    assert all_ids(tmp_path / "absent") == []


@pytest.mark.parametrize("limit", [1, 7, 20, 100])
def test_the_newest_predictions_come_first_whichever_process_gave_them(
    folder: PartFolder, limit: int
) -> None:
    some = predictions(40, NOON - 20 * timedelta(minutes=5), timedelta(minutes=5))  # over the hours
    expected = ids(some)[::-1][:limit]
    for process, mine in (("a-1-aaaaaa", some[::2]), ("b-1-bbbbbb", some[1::2])):
        for number, hour in enumerate(itertools.groupby(mine, lambda one: one.time.hour), 1):
            folder.write(as_table(list(hour[1])), process, number)
    assert ids(PredictionLog(folder.folder).recent(limit)) == expected


def test_a_list_shows_neither_sketches_nor_images(folder: PartFolder) -> None:
    written(folder, [[prediction(sketch=np.ones(DIMENSIONS, np.float32), image=b"image")]])
    (short,) = PredictionLog(folder.folder).recent(5)
    assert (short.sketch, short.image) == (None, None)
    whole = PredictionLog(folder.folder).find(short.prediction_id)
    assert whole is not None
    assert whole.image == b"image"
    assert {name for name in SCHEMA.names if name not in SHORT_COLUMNS} == {"sketch", "image"}


def test_only_the_newest_parts_and_those_of_the_time_of_an_id_are_read(
    folder: PartFolder,
) -> None:
    groups, parts = parts_of(folder, 6, 5, timedelta(minutes=10))
    for part in (*parts[:3], parts[4]):
        folder.file(part).write_bytes(b"whoever reads this says so")
    record = PredictionLog(folder.folder)
    assert len(record.recent(5)) == 5
    assert record.find(groups[3][2].prediction_id) == groups[3][2]
    assert record.damaged == {}


def test_an_id_whose_time_was_taken_a_little_earlier_is_found_too(folder: PartFolder) -> None:
    hour_before = prediction(NOON - SECOND).prediction_id
    written(folder, [[prediction(NOON + 20 * SECOND, prediction_id=hour_before)]])
    assert PredictionLog(folder.folder).find(hour_before) is not None


def test_an_id_that_is_not_recorded_is_not_found(folder: PartFolder) -> None:
    written(folder, [predictions(5)])
    assert PredictionLog(folder.folder).find(prediction().prediction_id) is None
    with pytest.raises(TrackingError, match="is no prediction id"):
        PredictionLog(folder.folder).find("v3")


def test_the_predictions_of_a_time_begin_with_it_and_end_before_it_is_over(
    folder: PartFolder,
) -> None:
    some = predictions(100, NOON - timedelta(hours=30), timedelta(minutes=37))
    for number, hour in enumerate(
        itertools.groupby(some, lambda one: one.time.replace(minute=0)), 1
    ):
        folder.write(as_table(list(hour[1])), PROCESS, number)
    since, until = some[20].time, some[60].time
    tables = list(PredictionLog(folder.folder).read(since, until))
    assert ids_in(tables) == ids(some[20:60])
    assert all(table.column_names == SCHEMA.names for table in tables)
    few = next(PredictionLog(folder.folder).read(since, until, columns=["score", "label"]))
    assert few.column_names == ["score", "label"]


@pytest.mark.parametrize("damage", ["half", "empty", "other bytes", "rotten pages"])
def test_a_damaged_part_is_skipped_and_told_of_once(
    folder: PartFolder, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    groups, parts = parts_of(folder, 3, 50, timedelta(minutes=2))
    file = folder.file(parts[1])
    content = file.read_bytes()
    damaged = {
        "half": content[: len(content) // 2],
        "empty": b"",
        "other bytes": b"PAR1" * 9,
        "rotten pages": content[:40] + bytes(1960) + content[2000:],
    }
    file.write_bytes(damaged[damage])
    record = PredictionLog(folder.folder)
    for _ in range(3):
        assert len(record.recent(500)) == 100
        assert record.find(groups[1][0].prediction_id) is None
    assert sum(map(len, record.read(NOON, NOON + timedelta(hours=1)))) == 100
    assert list(record.damaged) == [parts[1].name]
    assert len(caplog.records) == 1


def test_reading_goes_on_with_what_it_has_begun_while_parts_are_merged(folder: PartFolder) -> None:
    groups, parts = parts_of(folder, 6, 3, 4 * SECOND)
    reading = PredictionLog(folder.folder).read(NOON, NOON + timedelta(hours=1))
    first = next(reading)
    folder.merge(parts)
    assert ids_in([first, *reading]) == ids(chain(*groups))


def test_a_part_that_goes_between_listing_and_opening_is_looked_for_again(
    folder: PartFolder,
) -> None:
    groups, parts = parts_of(folder, 6, 3, 4 * SECOND)
    record = PredictionLog(folder.folder)
    list_parts = record._parts

    def list_and_merge(hour: str) -> Any:
        listed = list_parts(hour)
        if len(listed) > 1:
            folder.merge(parts)
        return listed

    record._parts = list_and_merge  # type: ignore[method-assign]
    assert sorted(ids(record.recent(500))) == sorted(ids(chain(*groups)))


def test_a_part_is_plain_parquet_and_one_of_an_earlier_release_is_read(folder: PartFolder) -> None:
    some = predictions(3)
    (part,) = written(folder, [some])
    table = pq.read_table(folder.file(part))
    assert table.schema.types == SCHEMA.types
    pq.write_table(table.drop_columns(["crack_share", "sketch"]), folder.file(part))
    assert ids(PredictionLog(folder.folder).recent(5)) == ids(some)[::-1]
    assert PredictionLog(folder.folder).find(some[0].prediction_id) == some[0]


# --- where it is ----------------------------------------------------------------------------------


def test_the_record_is_beside_the_bundles_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PLACE_VARIABLE, raising=False)
    assert place_of_log(tmp_path) == str(tmp_path / "answers")
    monkeypatch.setenv(PLACE_VARIABLE, "s3://inspections/answers")
    assert place_of_log(tmp_path) == "s3://inspections/answers"
