"""The benchmark: its arithmetic, which rows it keeps, what it shows, and how it ends."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.measurements import (
    Measure,
    Row,
    compared,
    in_turn,
    measured,
    run_measures,
    table_rows,
)
from benchmarks.model import extrapolated, labelled_folder, recipe_note
from benchmarks.photographs import Photographs, open_photographs
from benchmarks.scratch import MeasurementFailed, Scratch
from tests.unit.builders import picture, tree, write_files


def row(name: str, ours: float = 1.0) -> Row:
    return Row(name, ours, None, None, None, "s", "")


@pytest.fixture
def place(tmp_path: Path) -> Scratch:
    (tmp_path / "scratch").mkdir()
    return Scratch(tmp_path / "scratch")


@pytest.fixture
def photographs(tmp_path: Path, place: Scratch) -> Photographs:
    folder = write_files(tmp_path / "two", {"Negative/1.jpg": picture(1), "Positive/1.jpg": b"no"})
    return Photographs(folder, "two", place)


# --- the arithmetic --------------------------------------------------------------------------


def test_a_figure_is_the_median_and_its_spread_the_range_as_a_part_of_it() -> None:
    found = measured("data.split_s", [9.0, 1.0, 2.0], "s", "note")
    assert found == Row("data.split_s", 2.0, None, None, 4.0, "s", "note")


@pytest.mark.parametrize(
    ("ours", "reference", "inverse", "expected"),
    [
        ([4.0, 8.0, 6.0], [3.0, 1.0, 2.0], False, (6.0, 2.0, 3.0, 0.6667)),
        ([2.0], [30.0], True, (2.0, 30.0, 15.0, None)),  # how many times faster
        ([1234.5678], [3.0], False, (1235.0, 3.0, 411.5, None)),  # no more digits than it is worth
        ([2.0], [0.0], False, (2.0, 0.0, None, None)),
        ([0.0, 0.0], [2.0], True, (0.0, 2.0, None, None)),
    ],
)
def test_the_ratio_is_of_the_medians_and_the_spread_is_that_of_ours(
    ours: list[float], reference: list[float], inverse: bool, expected: tuple[float, ...]
) -> None:
    found = compared("data.x", ours, reference, "s", "note", inverse=inverse)
    assert found == Row("data.x", *expected, "s", "note")


def test_ours_and_the_reference_take_turns() -> None:
    order: list[str] = []
    ours, reference = in_turn(2, lambda: order.append("o") or 1, lambda: order.append("r") or 2)
    assert order == ["o", "r", "o", "r"]
    assert (ours, reference) == ([1, 1], [2, 2])


# --- parts that fail -------------------------------------------------------------------------


def fails() -> Iterator[Row]:
    yield row("data.before")
    raise MeasurementFailed("no\nrclone")


def works() -> Iterator[Row]:
    yield row("data.after")


def model() -> Iterator[Row]:
    yield row("model.x")


def wordless() -> Iterator[Row]:
    raise KeyError
    yield


@pytest.mark.parametrize(
    ("bad", "rows", "said"),
    [
        (fails, ["data.before", "data.after"], "error: data.bad: no rclone"),
        (wordless, ["data.after"], "error: data.bad: KeyError"),
    ],
)
def test_a_failure_is_one_line_and_the_others_still_run(
    bad: Measure, rows: list[str], said: str
) -> None:
    lines: list[str] = []
    found, well = run_measures({"data.bad": bad, "data.good": works}, lines.append)
    assert not well
    assert [one.name for one in found] == rows
    assert [line for line in lines if "error" in line] == [said]


# --- what is kept and shown ------------------------------------------------------------------


def test_a_table_has_a_column_for_each_figure_and_gaps_where_there_is_none() -> None:
    (shown,) = table_rows([vars(Row("data.x", 12345.0, None, 0.27641, None, "images/s", "n"))])
    assert shown == {
        "name": "data.x",
        "ours": "12,345",
        "reference": "",
        "ratio": "0.276",
        "spread": "",
        "unit": "images/s",
        "note": "n",
    }


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "reports" / "bench.json"
    monkeypatch.setattr(command, "REPORT", path)
    return path


def part(measure: Measure) -> command.Part:
    def measures(photographs: Photographs, place: Scratch) -> Mapping[str, Measure]:
        assert photographs.count == 2
        assert place.place.is_dir()
        return {"data.measure": measure}

    return measures


def run(folder: Path, *arguments: str) -> int:
    return command.main(["--source", str(folder), *arguments])


EARLIER = json.dumps([vars(row(name)) for name in ("model.x", "data.old", "database.x")]).encode()


@pytest.mark.parametrize(
    ("earlier", "measure", "parts", "names"),
    [
        (EARLIER, works, ["--only", "data"], ["model.x", "database.x", "data.after"]),
        (b"[]", fails, [], ["data.before", "model.x"]),
        *(
            (damaged, works, ["--only", "data"], ["data.after"])
            for damaged in (b"", b"{}", b"[1]", b'[{"ours": 1}]', b"\xff")
        ),
    ],
)
def test_new_rows_stand_beside_those_of_other_parts_also_where_one_fails(
    report: Path,
    photographs: Photographs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    earlier: bytes,
    measure: Measure,
    parts: list[str],
    names: list[str],
) -> None:
    monkeypatch.setattr(command, "PARTS", {"data": part(measure), "model": part(model)})
    write_files(report.parent, {report.name: earlier})
    assert run(photographs.path, *parts) == (measure is fails)
    assert [one["name"] for one in json.loads(report.read_text())] == names
    told = capsys.readouterr()
    assert all(name in told.out for name in names)
    assert ("error: data.measure: no rclone" in told.err) == (measure is fails)


def test_an_unknown_part_is_refused_with_the_known_ones(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--only", "modle"])
    assert "'modle' (choose from" in capsys.readouterr().err
    assert not report.exists()


@pytest.mark.parametrize("name", ["absent", "text.txt", "empty", "damaged.zip"])
def test_a_source_without_photographs_is_refused_in_one_line(
    name: str, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, {"text.txt": b"", "empty/x.txt": b"", "damaged.zip": b"PK"})
    assert run(tmp_path / name) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --source: ")
    assert name in err
    assert len(err.splitlines()) == 1
    assert not report.exists()


# --- photographs and processes ---------------------------------------------------------------


def test_a_part_of_the_photographs_keeps_both_labels(tmp_path: Path, place: Scratch) -> None:
    names = [f"{label}/{number:02d}.jpg" for label in ("Negative", "Positive") for number in (1, 2)]
    source = write_files(tmp_path / "four", {name: name.encode() for name in names})
    thinned = Photographs(source, "four", place).at_most(2)
    files = [name for name, content in tree(thinned).items() if content is not None]
    assert files == ["Negative/01.jpg", "Positive/01.jpg"]


def test_the_real_photographs_are_the_default_where_they_are(
    tmp_path: Path, place: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "data" / "metu-20k.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("Negative/1.jpg", b"1")
    monkeypatch.setenv("CRACKS_SHARED", str(tmp_path))
    found = open_photographs(None, place)
    assert (found.path, found.name, found.count) == (archive, "metu-20k.zip", 1)


# --- the part `model` ------------------------------------------------------------------------

RECIPE: dict[str, Any] = {
    "batch_size": 32,
    "start_seconds": 5.0,
    "steps_of_epoch": {"training": 500, "validation": 100},
    "seconds_a_step": {"training": [0.5, 1.5], "validation": [0.5, 0.5]},
    "seconds": 55.05,
}


def test_the_notebooks_recipe_is_extrapolated_to_ten_epochs_and_starts_once() -> None:
    assert extrapolated(RECIPE) == 5 + 10 * (500 * 1.0 + 100 * 0.5)


def test_the_note_tells_what_was_run_of_the_recipe_and_that_the_rest_is_extrapolated() -> None:
    note = recipe_note(RECIPE)
    assert "extrapolated linearly from 2 steps of training (32 images/s)" in note
    assert "2 steps of validation (64 images/s)" in note
    assert "1.0% of it really ran" in note


def test_the_recipe_reads_the_folder_that_holds_both_labels(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"deep/Negative/1.jpg": b"", "deep/Positive/1.jpg": b""})
    assert labelled_folder(folder) == tmp_path / "deep"
