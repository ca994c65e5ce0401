"""Shards: the original bytes, in Parquet files that open anywhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cracks.shards import (
    ShardRow,
    ShardWriter,
    contents_of,
    count_rows,
    iterate_contents,
    read_contents,
    shard_files,
)

ROWS = [ShardRow(f"id{i}", "crack", f"Positive/{i}.jpg", bytes([i]) * i) for i in range(7)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = ShardWriter(tmp_path / "images", shard_rows=3)
    for row in ROWS:
        writer.add(row)
    writer.flush()
    writer.flush()  # nothing is left, so no empty shard comes of it
    return tmp_path / "images"


def test_a_shard_is_written_when_it_is_full_and_the_rest_at_the_end(folder: Path) -> None:
    shards = [(name, len(contents)) for name, contents in iterate_contents(folder)]
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
    for row, (shard, position) in zip(ROWS, places, strict=True):
        assert read_contents(tmp_path / "images" / shard, [position]) == [row.content]


def test_a_shard_has_the_layout_that_other_tools_open(folder: Path) -> None:
    first = pq.read_table(shard_files(folder)[0]).to_pylist()[1]
    image = {"bytes": b"\1", "path": "Positive/1.jpg"}
    assert first == {"id": "id1", "label": "crack", "image": image}


def test_images_come_back_in_the_order_asked_for(folder: Path) -> None:
    wanted = [6, 0, 4, 0, 5]
    places = [(f"part-{i // 3:05d}.parquet", i % 3) for i in wanted]
    rows = pa.table({"shard": [shard for shard, _ in places], "row": [row for _, row in places]})
    assert contents_of(rows, folder) == [ROWS[i].content for i in wanted]


def test_the_same_rows_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = ShardWriter(tmp_path / "again", shard_rows=3)
    for row in ROWS:
        again.add(row)
    again.flush()
    for shard in shard_files(folder):
        assert (tmp_path / "again" / shard.name).read_bytes() == shard.read_bytes()
