"""Later photographs move nothing that was known, and join what they belong to."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from cracks.dataset.labels import LABELS, SPLITS
from tests.e2e.conftest import shared_file
from tests.e2e.test_real_split import photographs_of, split_workspace
from tests.unit.builders import write_files


def test_a_tenth_more_photographs_moves_nothing_and_joins_what_it_belongs_to(
    tmp_path: Path,
) -> None:
    archive, photos = shared_file("data/metu-2k.zip"), tmp_path / "photos"
    workspace = split_workspace(tmp_path / "workspace")
    known: dict[str, bytes] = {}
    later: dict[str, bytes] = {}
    seen: Counter[str] = Counter()
    for name, content in photographs_of(archive):
        label = name.split("/")[0]
        seen[label] += 1
        (known if seen[label] % 10 else later)[name] = content
    workspace.run(write_files(photos, known))
    before, shards = workspace.rows(), workspace.shards()
    _, report = workspace.run(write_files(photos, later))
    after, shards_after = workspace.rows(), workspace.shards()

    assert len(after) > len(before) > 1700
    for id_, row in before.items():
        for column in ("label", "group", "split"):
            assert after[id_][column] == row[column], (id_, column)
    new = after.keys() - before.keys()
    assert new <= {hashlib.sha256(content).hexdigest() for content in later.values()}
    assert shards.items() <= shards_after.items()
    assert len(shards_after) == len(shards) + 1

    of_split = {(row["group"], row["split"]) for row in after.values() if row["split"] in SPLITS}
    assert len(of_split) == len({name for name, _ in of_split})
    groups = {row["group"] for row in before.values()}
    assert sum(after[id_]["group"] in groups for id_ in new) > len(new) / 4
    assert sum(report["left_out"].values()) < 0.05 * len(after)
    assert report["leakage"]["this_split"]["same_picture_in_train"] == 0
    for label in LABELS:
        counts = {name: report["counts"][name][label] for name in SPLITS}
        shares = {name: count / sum(counts.values()) for name, count in counts.items()}
        assert shares == pytest.approx({"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.02)
