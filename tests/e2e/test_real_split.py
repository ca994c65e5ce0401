"""Real photographs: every copy found, photographs kept whole, nothing leaks, nothing moves."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from processes import clone_working_tree

from cracks.dataset.labels import CRACK, LABELS, NO_CRACK, SPLITS
from cracks.dataset.manifest import numbers_of
from cracks.dataset.split.grouping import COLUMNS
from cracks.dataset.split.photo_sequences import LOOK, find_runs, look_of
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import IngestReport, SplitReport
from cracks.workspace.tables import read_table
from tasks.ingest import ingest
from tasks.split import split
from tests.e2e.conftest import shared_file

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


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

    def ids(self) -> dict[str, str]:
        """Return the id of each file by its path."""
        manifest = read_table(self.paths.manifest, ("path", "id"))
        return dict(zip(manifest["path"].to_pylist(), manifest["id"].to_pylist(), strict=True))

    def shards(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted(self.paths.images.iterdir())}


def _workspace(folder: Path) -> SplitWorkspace:
    root = clone_working_tree(folder)
    return SplitWorkspace(Paths(root), load_params(root / "params.yaml"))


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
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
    made = _workspace(tmp_path_factory.mktemp("large"))
    ingested, split_report = made.run(archive)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in _members(archive)}
    return Large(made.paths, made.params, ingested, split_report, digests)


def test_every_copy_is_found_and_counted_once(large: Large) -> None:
    files, distinct = len(large.digest_of), len(set(large.digest_of.values()))
    assert (files, distinct) == (20_000, 19_626)
    assert (large.ingested["files"], large.ingested["distinct_patches"]) == (files, distinct)
    assert (large.split_report["patches"], large.split_report["copies_left_out"]) == (
        distinct,
        files - distinct,
    )
    assert large.ids() == large.digest_of
    assert set(large.rows()) == set(large.digest_of.values())


def test_no_group_and_no_picture_stands_in_two_splits(large: Large) -> None:
    rows = large.rows().values()
    for column in ("group", "near_copies"):
        of_split = {(row[column], row["split"]) for row in rows}
        assert len(of_split) == len({name for name, _ in of_split}), column
    assert {row["split"] for row in rows} == set(SPLITS)


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


MIRRORED = {
    "left to right": ("Positive/00012.jpg", "Positive/16440_1.jpg"),
    "top to bottom": ("Positive/00033.jpg", "Positive/18548_1.jpg"),
}
CUT_TWICE = {
    "moved by 10 pixels": ("Positive/00671.jpg", "Positive/06185.jpg"),
    "of clean concrete": ("Negative/06281.jpg", "Negative/10986.jpg"),
}


@pytest.mark.parametrize("pair", MIRRORED.values(), ids=MIRRORED.keys())
def test_a_mirrored_copy_is_the_same_picture(large: Large, pair: tuple[str, str]) -> None:
    assert large.digest_of[pair[0]] != large.digest_of[pair[1]]
    one, other = (large.rows()[large.digest_of[name]] for name in pair)
    assert one["near_copies"] == other["near_copies"]
    assert (one["group"], one["split"]) == (other["group"], other["split"])


@pytest.mark.parametrize("pair", CUT_TWICE.values(), ids=CUT_TWICE.keys())
def test_a_place_that_was_cut_out_twice_is_one_group(large: Large, pair: tuple[str, str]) -> None:
    one, other = (large.rows()[large.digest_of[name]] for name in pair)
    assert one["near_copies"] != other["near_copies"]
    assert (one["group"], one["split"]) == (other["group"], other["split"])


def test_photographs_are_kept_whole(large: Large) -> None:
    manifest = read_table(large.paths.manifest, COLUMNS)
    paths = manifest["path"].to_pylist()
    look = look_of(numbers_of(manifest, *LOOK))
    runs = find_runs(paths, look, large.params.split.run_change)
    found = {
        _number(path)
        for path, run, place in zip(paths, runs, range(len(paths)), strict=True)
        if path.startswith("Positive/") and run == place
    }
    # The ends of photographs, as a person sees them on a sheet of the patches in their order.
    for start in (54, 78, 631, 655):
        assert any(abs(number - start) <= 3 for number in found), start
    # Between them the photographs are whole, and one group each.
    rows = large.rows()
    for first, last in ((58, 74), (635, 643), (659, 663)):
        inside = [i for i, path in enumerate(paths) if path.startswith("Positive/")]
        inside = [i for i in inside if first <= _number(paths[i]) <= last]
        assert len(inside) == last - first + 1
        assert len({int(runs[i]) for i in inside}) == 1
        assert len({rows[large.digest_of[paths[i]]]["group"] for i in inside}) == 1


def test_where_the_numbering_says_nothing_no_photographs_are_made_up(large: Large) -> None:
    sizes = Counter(row["group"] for row in large.rows().values())
    alone = sum(size == 1 for size in sizes.values())
    assert alone > 5000
    assert max(sizes.values()) < 0.05 * sizes.total()
    assert large.split_report["largest_group"] == max(sizes.values())


def _number(path: str) -> int:
    return int(PurePosixPath(path).stem.split("_")[0])


# --- The small set, nine tenths of it first


@dataclass
class Grown:
    """The small set before and after its last tenth was added."""

    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]
    shards_before: dict[str, bytes]
    shards_after: dict[str, bytes]
    held_back: set[str]
    split_report: SplitReport


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    archive = shared_file("data/metu-2k.zip")
    folder = tmp_path_factory.mktemp("photos")
    workspace = _workspace(tmp_path_factory.mktemp("grown"))
    later: dict[str, bytes] = {}
    seen: Counter[str] = Counter()
    for name, content in _members(archive):
        label = name.split("/")[0]
        seen[label] += 1
        if seen[label] % 10 == 0:
            later[name] = content
        else:
            _write(folder / name, content)
    workspace.run(folder)
    before, shards_before = workspace.rows(), workspace.shards()
    for name, content in later.items():
        _write(folder / name, content)
    _, split_report = workspace.run(folder)
    held_back = {hashlib.sha256(content).hexdigest() for content in later.values()}
    return Grown(
        before, workspace.rows(), shards_before, workspace.shards(), held_back, split_report
    )


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def test_a_tenth_more_photographs_moves_no_patch(grown: Grown) -> None:
    assert len(grown.after) > len(grown.before) > 1700
    for id_, row in grown.before.items():
        for column in ("label", "group", "split"):
            assert grown.after[id_][column] == row[column], (id_, column)
    assert grown.after.keys() - grown.before.keys() <= grown.held_back


def test_a_tenth_more_photographs_leaves_the_shards_as_they_are(grown: Grown) -> None:
    assert grown.shards_before.items() <= grown.shards_after.items()
    assert len(grown.shards_after) == len(grown.shards_before) + 1


def test_what_was_added_stands_with_what_it_belongs_to(grown: Grown) -> None:
    used = [row for row in grown.after.values() if row["split"] in SPLITS]
    of_split = {(row["group"], row["split"]) for row in used}
    assert len(of_split) == len({name for name, _ in of_split})
    new = [grown.after[id_] for id_ in grown.after.keys() - grown.before.keys()]
    groups = {row["group"] for row in grown.before.values()}
    joined = sum(row["group"] in groups for row in new)
    assert joined > len(new) / 4
    assert grown.split_report["left_out"] < 0.05 * len(grown.after)
    assert grown.split_report["leakage"]["this_split"]["same_picture_in_train"] == 0


@pytest.mark.parametrize("label", [NO_CRACK, CRACK])
def test_the_shares_are_kept_when_a_tenth_is_added(grown: Grown, label: str) -> None:
    counts = grown.split_report["counts"]
    total = sum(counts[name][label] for name in SPLITS)
    shares = {name: counts[name][label] / total for name in SPLITS}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.02)
