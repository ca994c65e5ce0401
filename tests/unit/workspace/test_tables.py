"""Tables: Parquet between the stages, CSV for people."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pytest
from damaged import damaged_copies

from cracks.errors import WorkspaceError
from cracks.workspace.tables import read_table, write_csv, write_table

TABLE = pa.table({"id": ["a", "b"], "score": [0.25, 1.0]})


def test_a_table_comes_back_and_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "data" / "one.parquet")
    write_table(pa.table(TABLE.to_pydict()), tmp_path / "two.parquet")
    assert read_table(tmp_path / "data" / "one.parquet").equals(TABLE)
    one, two = (tmp_path / "data" / "one.parquet", tmp_path / "two.parquet")
    assert one.read_bytes() == two.read_bytes()


def test_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"splits\.parquet does not exist. Run `dvc repro`"):
        read_table(tmp_path / "splits.parquet")


DAMAGES = {"all": slice(0, None), "end": slice(-40, None), "footer": slice(-60, -20)}


@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "overwritten"])
def test_a_damaged_table_says_how_to_remake_it(tmp_path: Path, damaged: slice, cut: bool) -> None:
    file = tmp_path / "splits.parquet"
    write_table(TABLE, file)
    content = bytearray(file.read_bytes())
    content[damaged] = b"" if cut else b"\xff" * len(content[damaged])
    file.write_bytes(content)
    with pytest.raises(WorkspaceError, match=r"splits\.parquet is damaged .*`dvc repro` to remake"):
        read_table(file)


def test_some_columns_come_back_alone(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "splits.parquet")
    assert read_table(tmp_path / "splits.parquet", ["score"]).equals(TABLE.select(["score"]))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_damage_a_table_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "splits.parquet"
    write_table(TABLE, file)
    for damaged in damaged_copies(file.read_bytes(), seed, 100):
        file.write_bytes(damaged)
        with suppress(WorkspaceError):
            read_table(file)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (
            [{"epoch": 1, "note": "a, b"}, {"epoch": 2, "note": "ö"}],
            (),
            '"epoch","note"\n1,"a, b"\n2,"ö"\n',
        ),
        ([{"reason": "empty", "path": "a"}], ("path", "reason"), '"path","reason"\n"a","empty"\n'),
        ([], ("path", "reason"), '"path","reason"\n'),
    ],
    ids=["as in the rows", "in another order", "without rows"],
)
def test_a_csv_has_a_header_and_one_line_a_row(
    tmp_path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...], expected: str
) -> None:
    write_csv(rows, tmp_path / "h.csv", columns)
    assert (tmp_path / "h.csv").read_bytes().decode() == expected


@pytest.mark.parametrize(
    "separator", ["\n", "\r", "\r\n", '"', '""', ",", ";", "\t", " ", "'", "\\"]
)
def test_whatever_is_in_a_name_comes_back_from_a_csv(tmp_path: Path, separator: str) -> None:
    names = [f"a{separator}b", f"{separator}a", f"a{separator}", separator * 2]
    write_csv([{"path": name, "label": "crack"} for name in names], tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == names
    assert pandas.read_csv(tmp_path / "h.csv")["path"].tolist() == names


@pytest.mark.parametrize("rows", [[], [{"epoch": 1}, {"epoch": 2, "loss": 0.1}]])
def test_rows_whose_columns_are_unknown_leave_the_old_csv(
    tmp_path: Path, rows: list[dict[str, float]]
) -> None:
    (tmp_path / "h.csv").write_text("old")
    with pytest.raises(ValueError, match=r"no rows|not in fieldnames"):
        write_csv(rows, tmp_path / "h.csv")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
