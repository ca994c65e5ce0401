"""photos.csv: a team says where its patches come from, and is told which line is not sound."""

from __future__ import annotations

from datetime import datetime

import pytest

from cracks.dataset.photos.photo_table import PhotoRow, parse_photo_table
from cracks.errors import SourceError

PATHS = [f"Positive/{i}.jpg" for i in range(1, 5)]
SOUND = "path,photo,site,taken\nPositive/1.jpg,A,pier,2026-05-03T10:15:12\nPositive/2.jpg,B,,\n"


def test_each_line_says_photograph_site_and_time_of_a_file() -> None:
    rows = parse_photo_table(SOUND.encode(), PATHS, "new.zip/photos.csv")
    assert rows == {
        "Positive/1.jpg": PhotoRow("A", "pier", datetime(2026, 5, 3, 10, 15, 12)),
        "Positive/2.jpg": PhotoRow("B"),
    }


@pytest.mark.parametrize(
    "content",
    [
        SOUND.encode("utf-8-sig"),
        SOUND.replace(",", ";").encode(),
        SOUND.replace(",", "\t").replace("\n", "\r\n").encode(),
        SOUND.replace("Positive/", "Positive\\").encode(),
        SOUND.replace("path", " Path ").encode(),
        (SOUND + "\n,,,\n").encode(),
    ],
    ids=["byte order mark", "semicolons", "tabs", "backslashes", "capital", "empty lines"],
)
def test_what_a_spreadsheet_makes_of_a_table_is_the_same_table(content: bytes) -> None:
    assert parse_photo_table(content, PATHS, "new.zip/photos.csv") == parse_photo_table(
        SOUND.encode(), PATHS, "new.zip"
    )


def test_site_and_time_may_be_missing_as_columns() -> None:
    rows = parse_photo_table(b"photo,path\nA,Positive/3.jpg\n", PATHS, "new.zip/photos.csv")
    assert rows == {"Positive/3.jpg": PhotoRow("A")}


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("path,photo\nPositive/9.jpg,A\n", 2, "the source has no file 'Positive/9.jpg'"),
        ("path,photo\nPositive/1.jpg,A\nPositive/1.jpg,A\n", 3, "stands in the table twice"),
        ("path,photo\nPositive/1.jpg, \n", 2, "Positive/1.jpg has no photo"),
        ("path,photo,site\nPositive/1.jpg,A,x\nPositive/2.jpg,A,y\n", 3, "one site"),
        ("path,photo,site\nPositive/1.jpg,A,x\nPositive/2.jpg,A,\n", 3, "one site"),
        ("path,photo,taken\nPositive/1.jpg,A,yesterday\n", 2, "'yesterday' is no time"),
        ("path,photo,taken\nPositive/1.jpg,A,2026-13-01\n", 2, "'2026-13-01' is no time"),
        ("file,photo\nPositive/1.jpg,A\n", 1, "no column path"),
        ("", 1, "no column path and no photo"),
        ("path,photo\nPositive/1.jpg,A,B\n", 2, "more than 2 cells"),
        ('path,photo\nPositive/1.jpg,"A\n', 2, "no CSV"),
    ],
)
def test_a_line_that_is_not_sound_is_named(content: str, line: int, reason: str) -> None:
    with pytest.raises(SourceError) as refused:
        parse_photo_table(content.encode(), PATHS, "new.zip/photos.csv")
    message = str(refused.value)
    assert f"ingest.source: new.zip/photos.csv, line {line}: " in message
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_refused(encoding: str) -> None:
    content = "path,photo\nPositive/1.jpg,A\nPositive/2.jpg,Brücke\n".encode(encoding)
    with pytest.raises(SourceError, match="it is not UTF-8"):
        parse_photo_table(content, PATHS, "new.zip/photos.csv")
