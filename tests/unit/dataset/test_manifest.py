"""The manifest: one row a file, written as it comes, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged import damaged_copies

from cracks.dataset import manifest
from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.manifest import (
    PROVENANCE,
    SCHEMA,
    ManifestWriter,
    distinct_rows,
    fingerprints_of,
    known_facts,
    manifest_table,
    numbers_of,
)
from cracks.dataset.patch_facts import PatchFacts, inspect_patch
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.tables import write_table
from tests.unit.builders import picture

PICTURES = [picture(seed) for seed in range(5)]
IDS = [digest_of_bytes(content) for content in PICTURES]
FACTS = [inspect_patch(content, 32) for content in PICTURES]
UNKNOWN = digest_of_bytes(b"never seen")


def _row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": IDS[number],
        "source": "photos",
        "path": f"Positive/{number}.jpg",
        "label": CRACK,
        "shard": "part-00000.parquet",
        "row": number,
        **dict.fromkeys(PROVENANCE.names),
        **asdict(FACTS[number]),
    } | changes


ROWS = [_row(number) for number in range(5)]


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    with closing(ManifestWriter(path)) as writer:
        for row in rows:
            writer.add(row)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a manifest of every picture, some of them twice."""
    rows = [*ROWS, _row(2, path="Negative/2.jpg", label=NO_CRACK)]
    return _written(tmp_path / "manifest.parquet", rows)


@pytest.mark.parametrize("row_group", [1, 2, 5, 100])
def test_rows_come_back_in_their_order_however_many_are_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_group: int
) -> None:
    monkeypatch.setattr(manifest, "ROW_GROUP", row_group)
    path = _written(tmp_path / "m.parquet", ROWS)
    assert pq.read_table(path).to_pylist() == ROWS
    assert pq.ParquetFile(path).num_row_groups == -(-len(ROWS) // row_group)


def test_a_manifest_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    path = _written(tmp_path / "m.parquet", [])
    assert pq.read_schema(path).equals(SCHEMA, check_metadata=True)
    assert manifest_table([]).schema == SCHEMA


def test_the_same_rows_give_the_same_bytes(file: Path, tmp_path: Path) -> None:
    again = _written(tmp_path / "again.parquet", pq.read_table(file).to_pylist())
    assert again.read_bytes() == file.read_bytes()


def test_facts_come_back_as_they_were_measured(file: Path) -> None:
    wanted = [IDS[3], UNKNOWN, IDS[0], IDS[2], IDS[3]]
    assert known_facts(file).of(wanted) == [FACTS[3], None, FACTS[0], FACTS[2], FACTS[3]]


def test_nothing_is_known_of_what_no_manifest_lists(file: Path, tmp_path: Path) -> None:
    assert known_facts(file).of([UNKNOWN, UNKNOWN]) == [None, None]
    assert known_facts(file).of([]) == []
    assert known_facts(tmp_path / "nowhere.parquet").of(IDS[:2]) == [None, None]


WIDTH = SCHEMA.get_field_index("width")

CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "another version": lambda table: table.replace_schema_metadata({"inspection_version": "0"}),
    "no version": lambda table: table.replace_schema_metadata(None),
    "no column": lambda table: table.drop_columns(["sharpness"]),
    "another type": lambda table: table.cast(
        SCHEMA.set(WIDTH, pa.field("width", pa.int64())).with_metadata(SCHEMA.metadata)
    ),
    "no rows": lambda table: table.slice(0, 0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_facts_of_an_outdated_manifest_are_not_used_again(
    file: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    write_table(change(pq.read_table(file)), file)
    assert known_facts(file).of(IDS) == [None] * len(IDS)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no table at all" * 99], ids=["empty", "cut", "other"]
)
def test_facts_of_a_damaged_manifest_are_not_used_again(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert known_facts(file).of(IDS) == [None] * len(IDS)


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_of_a_manifest_stops_the_next_ingest(file: Path, seed: int) -> None:
    for damaged in damaged_copies(file.read_bytes(), seed, 25):
        file.write_bytes(damaged)
        found = known_facts(file).of(IDS)
        assert [type(one) for one in found if one] == [PatchFacts] * (5 - found.count(None))


def test_a_manifest_whose_ids_are_no_digests_is_damaged(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content.replace(IDS[1].encode(), b"x" * 64).replace(b"crack", b"cr\xffck"))
    assert known_facts(file).of(IDS) == [None] * len(IDS)


def test_distinct_patches_are_counted_once_and_every_row_knows_its_own(file: Path) -> None:
    table = pq.read_table(file)
    first, patch = distinct_rows(table)
    ids = table["id"].to_pylist()
    assert [ids[row] for row in first] == sorted(IDS)
    assert [sorted(IDS)[place] for place in patch] == ids
    assert patch[2] == patch[5]
    assert first[patch[5]] == 2


def test_fingerprints_and_numbers_are_those_of_the_rows(file: Path) -> None:
    table = pq.read_table(file)
    fingerprints = fingerprints_of(table)
    assert (fingerprints.shape, fingerprints.dtype) == ((6, 64), np.int16)
    assert fingerprints[3].tobytes() == FACTS[3].fingerprint
    numbers = numbers_of(table, "brightness", "size_bytes")
    assert list(numbers) == ["brightness", "size_bytes"]
    assert numbers["size_bytes"].tolist()[:5] == [len(content) for content in PICTURES]
    assert numbers["size_bytes"].dtype == np.float64
