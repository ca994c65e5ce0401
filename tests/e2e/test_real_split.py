"""Real photographs: every copy found, photographs kept whole, nothing leaks, nothing moves."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from processes import clone_working_tree

from cracks.dataset.labels import LABELS, LEFT_OUT, SPLITS
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import IngestReport, SplitReport
from cracks.workspace.tables import read_table
from tasks.ingest import ingest
from tasks.split import split
from tests.e2e.conftest import shared_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class SplitWorkspace:
    """A workspace in which a source was ingested and split in this process."""

    paths: Paths
    params: Params

    def run(self, source: Path) -> tuple[IngestReport, SplitReport]:
        """Ingest and split `source` and return both reports."""
        section = self.params.ingest.model_copy(update={"source": str(source)})
        params = self.params.model_copy(update={"ingest": section})
        return ingest(params, self.paths), split(params, self.paths)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the row of each distinct patch by its id."""
        return {row["id"]: row for row in read_table(self.paths.splits).to_pylist()}

    def shards(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted(self.paths.images.iterdir())}


def split_workspace(folder: Path) -> SplitWorkspace:
    root = clone_working_tree(folder)
    return SplitWorkspace(Paths(root), load_params(root / "params.yaml"))


def photographs_of(archive: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.endswith(".jpg"):
                yield name, opened.read(name)


@dataclass
class Large(SplitWorkspace):
    """The large set, with the reports on it and the SHA-256 of every file."""

    ingested: IngestReport
    split_report: SplitReport
    digest_of: dict[str, str]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    archive = shared_file("data/metu-20k.zip")
    made = split_workspace(tmp_path_factory.mktemp("large"))
    ingested, split_report = made.run(archive)
    digests = {
        name: hashlib.sha256(content).hexdigest() for name, content in photographs_of(archive)
    }
    return Large(made.paths, made.params, ingested, split_report, digests)


def test_every_copy_is_found_and_counted_once(large: Large) -> None:
    files, distinct = len(large.digest_of), len(set(large.digest_of.values()))
    assert (files, distinct) == (20_000, 19_626)
    assert (large.ingested["files"], large.ingested["distinct_patches"]) == (files, distinct)
    assert (large.split_report["patches"], large.split_report["copies_left_out"]) == (
        distinct,
        files - distinct,
    )
    manifest = read_table(large.paths.manifest, ("path", "id")).to_pylist()
    assert {row["path"]: row["id"] for row in manifest} == large.digest_of
    assert set(large.rows()) == set(large.digest_of.values())


def test_no_group_and_no_picture_stands_in_two_splits(large: Large) -> None:
    rows = large.rows().values()
    for column in ("group", "near_copies"):
        of_split = {(row[column], row["split"]) for row in rows}
        assert len(of_split) == len({name for name, _ in of_split}), column
    assert {row["split"] for row in rows} == {*SPLITS, LEFT_OUT}


@pytest.mark.parametrize("label", LABELS)
def test_every_split_has_its_share_of_each_label(large: Large, label: str) -> None:
    counts = Counter(row["split"] for row in large.rows().values() if row["label"] == label)
    for name in SPLITS:
        share = counts[name] / counts.total()
        assert share == pytest.approx(getattr(large.params.split, name), abs=0.01), name
        assert large.split_report["counts"][name][label] == counts[name]


def test_nothing_leaks_where_a_random_split_leaks_much(large: Large) -> None:
    leakage = large.split_report["leakage"]
    assert set(leakage["this_split"].values()) == {0.0}
    assert leakage["random_split"]["same_picture_in_train"] > 0.15
    assert leakage["random_split"]["same_photograph_in_train"] > 0.3


#: Two files of one place, and whether they are the same picture.
PAIRS = {
    "mirrored left to right": ("Positive/00012.jpg", "Positive/16440_1.jpg", True),
    "mirrored top to bottom": ("Positive/00033.jpg", "Positive/18548_1.jpg", True),
    "moved by 10 pixels": ("Positive/00671.jpg", "Positive/06185.jpg", False),
    "moved on clean concrete": ("Negative/06281.jpg", "Negative/10986.jpg", False),
}


@pytest.mark.parametrize(("first", "second", "is_same_picture"), PAIRS.values(), ids=PAIRS.keys())
def test_a_place_that_was_cut_out_twice_is_one_group_and_mirrored_one_picture(
    large: Large, first: str, second: str, is_same_picture: bool
) -> None:
    assert large.digest_of[first] != large.digest_of[second]
    one, other = (large.rows()[large.digest_of[name]] for name in (first, second))
    assert (one["near_copies"] == other["near_copies"]) is is_same_picture
    assert (one["group"], one["split"]) == (other["group"], other["split"])


def test_photographs_are_kept_whole(large: Large) -> None:
    manifest = read_table(large.paths.manifest, ("path", "photo")).to_pylist()
    photo_of = {
        _number(row["path"]): row["photo"]
        for row in manifest
        if row["path"].startswith("Positive/")
    }
    # A run is named after the first patch of the photograph.
    found = {_number(photo) for photo in photo_of.values() if photo}
    # The ends of photographs, as a person sees them on a sheet of the patches in their order.
    for start in (54, 78, 631, 655):
        assert any(abs(number - start) <= 3 for number in found), start
    # Between them the photographs are whole, and one group each.
    rows = large.rows()
    group_of = {path: rows[digest]["group"] for path, digest in large.digest_of.items()}
    for first, last in ((58, 74), (635, 643), (659, 663)):
        inside = range(first, last + 1)
        assert len({photo_of[number] for number in inside}) == 1
        assert len({group_of[f"Positive/{number:05}.jpg"] for number in inside}) == 1


def test_where_the_numbering_says_nothing_no_photographs_are_made_up(large: Large) -> None:
    sizes = Counter(row["group"] for row in large.rows().values())
    alone = sum(size == 1 for size in sizes.values())
    assert alone > 5000
    assert large.split_report["largest_group"] == max(sizes.values())


def test_no_group_holds_much_and_little_is_left_out(large: Large) -> None:
    report = large.split_report
    assert report["largest_group"] < 0.02 * report["patches"]
    assert report["crack_groups"]["test"] >= 150
    cracks = sum(counts["crack"] for counts in report["counts"].values())
    assert report["left_out"]["crack"] < 0.01 * cracks
    assert report["left_out"]["no crack"] == 0


def _number(path: str) -> int:
    return int(re.split(r"[_…]", PurePosixPath(path).stem)[0])
