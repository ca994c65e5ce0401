"""The manifest: every file of the source is a row of it or of the quarantine list."""

from __future__ import annotations

from pathlib import Path

import pytest

from cracks import manifest
from cracks.digests import digest_of_bytes
from cracks.labels import CRACK, NO_CRACK
from cracks.manifest import Sorted, class_counts, manifest_table, sort_files
from cracks.shards import ShardWriter, contents_of
from cracks.sources import SourceFile
from tests.unit.builders import picture

FILES = [
    SourceFile("Negative/1.jpg", NO_CRACK, picture(1)),
    SourceFile("Negative/2.jpg", NO_CRACK, b""),
    SourceFile("Positive/1.jpg", CRACK, picture(2)),
    SourceFile("Positive/2.png", CRACK, picture(3, format_="PNG")),
    SourceFile("Positive/3.jpg", CRACK, picture(4, size=33)),
    SourceFile("Positive/4.jpg", CRACK, picture(2)),
]


def _sorted(tmp_path: Path) -> tuple[Sorted, list[int]]:
    advances: list[int] = []
    writer = ShardWriter(tmp_path / "images", shard_rows=3)
    return sort_files(FILES, 32, writer, advances.append), advances


@pytest.fixture(params=[1, 4, 256])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "BATCH", request.param)


@pytest.mark.usefixtures("batch")
def test_usable_files_become_rows_in_their_order_and_the_others_are_listed(tmp_path: Path) -> None:
    result, advances = _sorted(tmp_path)
    usable = ["Negative/1.jpg", "Positive/1.jpg", "Positive/2.png", "Positive/4.jpg"]
    assert [row["path"] for row in result.rows] == usable
    assert result.quarantine == [
        {"path": "Negative/2.jpg", "label": NO_CRACK, "reason": "empty file"},
        {
            "path": "Positive/3.jpg",
            "label": CRACK,
            "reason": "wrong size: 33×33, not 32×32 pixels",
        },
    ]
    assert sum(advances) == len(FILES)


def test_a_row_leads_to_the_original_bytes_and_its_id_is_their_sha256(tmp_path: Path) -> None:
    table = manifest_table(_sorted(tmp_path)[0].rows)
    content_of = {file.path: file.content for file in FILES}
    contents = contents_of(table, tmp_path / "images")
    assert contents == [content_of[path] for path in table["path"].to_pylist()]
    assert table["id"].to_pylist() == [digest_of_bytes(content) for content in contents]


def test_a_manifest_without_rows_still_has_its_columns() -> None:
    assert manifest_table([]).schema == manifest.SCHEMA


def test_a_label_that_does_not_occur_counts_nought() -> None:
    assert class_counts([CRACK, CRACK]) == {NO_CRACK: 0, CRACK: 2}
