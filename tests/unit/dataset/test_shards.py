"""Shards: the original bytes, in Parquet files that open anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged import damaged_copies

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.shards import (
    ShardPosition,
    ShardRow,
    ShardWriter,
    contents_of,
    count_rows,
    next_shard,
    read_contents,
    rows_of,
    shard_files,
    shard_name,
    shard_number,
    stored_places,
)
from cracks.errors import DataError
from cracks.system.hashing import digest_of_bytes
from tests.unit.builders import places_of

CONTENTS = [bytes([i]) * i for i in range(7)]
ROWS = [
    ShardRow(digest_of_bytes(content), (NO_CRACK, CRACK)[i % 2], f"Positive/{i}.jpg", content)
    for i, content in enumerate(CONTENTS)
]
PLACES = [ShardPosition(i // 3, i % 3, row.label) for i, row in enumerate(ROWS)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _written(tmp_path / "images")


def _written(folder: Path, first: int = 0) -> Path:
    writer = ShardWriter(folder, shard_rows=3, first=first)
    for row in ROWS:
        writer.add(row)
    writer.flush()
    writer.flush()  # nothing is left, so no empty shard comes of it
    return folder


def test_a_shard_is_written_when_it_is_full_and_the_rest_at_the_end(folder: Path) -> None:
    shards = [(file.name, count_rows(file)) for file in shard_files(folder)]
    assert shards == [
        ("part-00000.parquet", 3),
        ("part-00001.parquet", 3),
        ("part-00002.parquet", 1),
    ]
    assert count_rows(folder) == len(ROWS)


def test_every_row_lies_where_the_writer_said(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "images", shard_rows=3)
    places = [writer.add(row) for row in ROWS]
    writer.flush()
    assert places == PLACES
    for row, place in zip(ROWS, places, strict=True):
        shard = tmp_path / "images" / shard_name(place.shard)
        assert read_contents(shard, [place.row]) == [row.content]


def test_new_shards_are_numbered_after_those_that_are_there(folder: Path, tmp_path: Path) -> None:
    assert next_shard(folder) == 3
    later = _written(tmp_path / "later", first=next_shard(folder))
    assert [shard.name for shard in shard_files(later)] == [shard_name(i) for i in (3, 4, 5)]


@pytest.mark.parametrize(("gone", "following"), [(0, 3), (1, 3), (2, 2)])
def test_a_gap_is_not_filled(folder: Path, gone: int, following: int) -> None:
    (folder / shard_name(gone)).unlink()
    assert next_shard(folder) == following


def test_a_folder_that_is_missing_or_empty_holds_nothing(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        assert next_shard(folder) == 0
        assert len(stored_places(folder)) == 0
        assert count_rows(folder) == 0


@pytest.mark.parametrize("number", [0, 7, 99_999, 123_456])
def test_a_name_tells_the_number_of_its_shard(number: int) -> None:
    assert shard_number(shard_name(number)) == number


def test_a_shard_has_the_layout_that_other_tools_open(folder: Path) -> None:
    first = pq.read_table(shard_files(folder)[0]).to_pylist()[1]
    image = {"bytes": b"\1", "path": "Positive/1.jpg"}
    assert first == {"id": ROWS[1].id, "label": "crack", "image": image}


def test_images_come_back_in_the_order_asked_for(folder: Path) -> None:
    wanted = [6, 0, 4, 0, 5]
    manifest = places_of([(row.id, place) for row, place in zip(ROWS, PLACES, strict=True)])
    rows = rows_of([ROWS[i].id for i in wanted], manifest)
    assert contents_of(rows, folder) == [ROWS[i].content for i in wanted]
    assert contents_of(places_of([]), folder) == []


def test_the_same_rows_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = _written(tmp_path / "again")
    for shard in shard_files(folder):
        assert (again / shard.name).read_bytes() == shard.read_bytes()


def test_every_stored_patch_is_found_at_its_place_with_its_label(folder: Path) -> None:
    places = stored_places(folder)
    assert len(places) == len(ROWS)
    numbers = [places.number(row.id) for row in ROWS]
    assert numbers == list(range(len(ROWS)))
    assert [places.place(number) for number in range(len(ROWS))] == PLACES
    assert places.number(digest_of_bytes(b"never stored")) is None


def _refused(folder: Path) -> None:
    with pytest.raises(DataError) as refusal:
        stored_places(folder)
    said = str(refusal.value)
    assert len(said.splitlines()) == 1
    assert re.search(r"part-00001\.parquet is damaged \(.+`dvc checkout data/images`", said)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-30],
    "emptied": lambda _content: b"",
    "overwritten": lambda content: content[:4] + b"\xff" * 60 + content[64:],
    "footer lost": lambda content: content[:-200] + b"\xff" * 180 + content[-20:],
    "a digit of an id": lambda content: content.replace(ROWS[3].id.encode(), b"x" * 64),
    "a letter of an id": lambda content: content.replace(ROWS[3].id.encode(), b"\xff" * 64),
    "a label": lambda content: content.replace(b"no crack", b"no track"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_shard_is_refused_in_one_line_with_the_remedy(
    folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    shard = folder / shard_name(1)
    shard.write_bytes(damage(shard.read_bytes()))
    _refused(folder)


def test_a_table_of_something_else_is_no_shard(folder: Path) -> None:
    pq.write_table(pa.table({"score": [0.5]}), folder / shard_name(1))
    _refused(folder)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_damage_a_shard_is_read_or_refused(folder: Path, seed: int) -> None:
    shard = folder / shard_name(1)
    for damaged in damaged_copies(shard.read_bytes(), seed, 25):
        shard.write_bytes(damaged)
        with suppress(DataError):
            stored_places(folder)
