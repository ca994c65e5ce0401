"""Taking in: what is known keeps its place, what is new is appended, whatever happened before."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset import manifest
from cracks.dataset.ingest import append as intake
from cracks.dataset.ingest.append import link_or_copy
from cracks.dataset.labels import CRACK, LABEL_OF_FOLDER, LABELS, NO_CRACK
from cracks.dataset.manifest import QUARANTINE_COLUMNS, with_column
from cracks.dataset.shards import contents_of, stored_places
from cracks.errors import DataError
from cracks.system.atomic_files import remove
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.paths import ACCEPT_RELABELS, Paths
from cracks.workspace.stage_reports import IngestReport
from cracks.workspace.tables import read_table, write_table
from tasks import ingest as stage
from tests.unit.builders import ingest_params, params_with, picture, tree, write_files

Files = Mapping[str, bytes]

FOLDERS = ("Negative", "Positive")
PICTURES = [picture(seed) for seed in range(24)]


def _photos(*numbers: int) -> dict[str, bytes]:
    """Return distinct photographs by name: even ones are clean, odd ones cracked."""
    return {
        f"{'Positive' if number % 2 else 'Negative'}/{number:02}.jpg": PICTURES[number]
        for number in numbers
    }


def _label(path: str) -> str:
    return LABEL_OF_FOLDER[path.split("/")[-2].lower()]


@dataclass(frozen=True)
class Site:
    """A workspace, and the folder of photographs that it takes in."""

    root: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.root / "workspace")

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    def take_in(self, files: Files, **options: Any) -> IngestReport:
        """Make the folder hold these files, and run the stage."""
        remove(self.photos)
        write_files(self.photos, files)
        return self.run("../photos", **options)

    def run(self, *sources: str, **options: Any) -> IngestReport:
        """Run the stage; sources are meant from the workspace."""
        self.paths.root.mkdir(exist_ok=True)
        ingest = ingest_params(sources[0] if len(sources) == 1 else sources, **options)
        return stage.ingest(params_with(ingest=ingest), self.paths)

    @property
    def shards(self) -> dict[str, bytes]:
        return {name: content or b"" for name, content in tree(self.paths.images).items()}

    @property
    def outputs(self) -> dict[str, bytes | None]:
        """Every file below the workspace, what is hidden too."""
        return tree(self.paths.root)

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_table(self.paths.manifest).to_pylist()
        return rows

    @property
    def quarantine(self) -> list[dict[str, str]]:
        with self.paths.quarantine.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def require(self, files: Files) -> None:
        """Check that the manifest lists exactly these files and leads to the bytes of each."""
        table = read_table(self.paths.manifest)
        assert [(row["path"], row["label"]) for row in self.rows] == [
            (path, _label(path)) for path in sorted(files)
        ]
        contents = contents_of(table, self.paths.images)
        assert contents == [files[path] for path in table["path"].to_pylist()]
        assert table["id"].to_pylist() == [digest_of_bytes(content) for content in contents]
        places = stored_places(self.paths.images)
        assert len(places) == len(set(contents)), "each patch is stored once"
        for id_ in table["id"].to_pylist():
            number = places.number(id_)
            assert number is not None
            labels = {row["label"] for row in self.rows if row["id"] == id_}
            assert places.place(number).label in labels


def _fresh(folder: Path, files: Files, **options: Any) -> Site:
    """Return a site beside others that has taken in these files, and nothing before."""
    site = Site(Path(tempfile.mkdtemp(dir=folder)))
    site.take_in(files, **options)
    return site


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the picture, which takes longer than all the rest."""
    monkeypatch.setattr(stage, "draw_examples", lambda *_: None)
    monkeypatch.delenv(ACCEPT_RELABELS, raising=False)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCEPT_RELABELS, "1")


@pytest.fixture(params=[1, 2, 3, 256])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BATCH", request.param)


# --- what is taken in -----------------------------------------------------------------------------


@pytest.mark.usefixtures("batch")
def test_usable_files_become_rows_in_their_order_and_the_others_are_listed(site: Site) -> None:
    unusable = {"Negative/02.jpg": b"", "Positive/05.jpg": picture(4, size=33)}
    png = {"Positive/03.png": picture(3, format_="PNG")}
    report = site.take_in(_photos(0, 1, 7) | unusable | png)
    site.require(_photos(0, 1, 7) | png)
    assert [tuple(one.values()) for one in site.quarantine] == [
        ("photos", "Negative/02.jpg", NO_CRACK, "empty file"),
        ("photos", "Positive/05.jpg", CRACK, "wrong size: 33×33, not 32×32 pixels"),
    ]
    assert list(site.quarantine[0]) == list(QUARANTINE_COLUMNS)
    assert report["files"] == 6
    assert report["patches"] == report["distinct_patches"] == 4
    assert report["quarantined"] == 2
    assert report["labels"] == {NO_CRACK: 1, CRACK: 3}


@pytest.mark.usefixtures("batch")
def test_copies_are_rows_of_one_stored_patch(site: Site) -> None:
    copies = {f"Positive/copy{i}.jpg": PICTURES[1] for i in range(5)}
    report = site.take_in(_photos(0, 1) | copies)
    site.require(_photos(0, 1) | copies)
    assert (report["patches"], report["distinct_patches"]) == (7, 2)


def test_the_same_file_from_a_second_source_is_counted_once(site: Site) -> None:
    write_files(site.root / "first", _photos(0, 1))
    write_files(site.root / "second", _photos(0, 2) | {"Positive/01 again.jpg": PICTURES[1]})
    report = site.run("../first", "../second")
    assert [(row["source"], row["path"]) for row in site.rows] == [
        ("first", "Negative/00.jpg"),
        ("first", "Positive/01.jpg"),
        ("second", "Negative/02.jpg"),
        ("second", "Positive/01 again.jpg"),
    ]
    assert (report["files"], report["patches"], report["distinct_patches"]) == (5, 4, 3)


def test_different_files_of_one_name_in_two_sources_are_both_kept(site: Site) -> None:
    write_files(site.root / "first", _photos(0, 1))
    write_files(site.root / "second", {"Negative/00.jpg": PICTURES[2]})
    site.run("../first", "../second")
    assert [row["path"] for row in site.rows].count("Negative/00.jpg") == 2
    assert len(stored_places(site.paths.images)) == 3


needs_any_name = pytest.mark.skipif(sys.platform != "linux", reason="names here are Unicode")


@needs_any_name
@pytest.mark.parametrize("content", [picture(20), PICTURES[0], b"no image"])
def test_a_name_that_is_no_utf8_is_quarantined_whatever_its_bytes(
    site: Site, content: bytes
) -> None:
    name = os.fsdecode(b"Positive/\xff.jpg")
    for _ in range(2):  # with PICTURES[0] the second time meets known bytes
        site.take_in(_photos(0, 1) | {name: content})
        site.require(_photos(0, 1))
        assert [(one["path"], one["reason"]) for one in site.quarantine] == [
            ("Positive/\\udcff.jpg", "the file's name is no UTF-8")
        ]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", 'a"b', "a,b", " a", "ä 𝐀 🧱", "x" * 251])
def test_an_unusable_file_is_listed_under_its_own_name(site: Site, name: str) -> None:
    site.take_in(_photos(0, 1) | {f"Positive/{name}.jpg": b"no image"})
    assert [one["path"] for one in site.quarantine] == [f"Positive/{name}.jpg"]


# --- append ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("batch")
def test_the_same_files_again_change_no_byte(site: Site) -> None:
    files = _photos(*range(8)) | {"Positive/bad.jpg": b"no image", "Negative/1.jpg": PICTURES[0]}
    first = site.take_in(files)
    before = site.outputs
    assert site.take_in(files) == first
    assert site.outputs == before


@pytest.mark.parametrize("more", [[20, 21], [2, 3], [2, 11, 20]], ids=["behind", "before", "among"])
def test_new_files_are_appended_wherever_they_sort(site: Site, more: list[int]) -> None:
    site.take_in(_photos(4, 5, 12, 13))
    before = site.shards
    site.take_in(_photos(4, 5, 12, 13, *more))
    site.require(_photos(4, 5, 12, 13, *more))
    after = site.shards
    assert {name: after[name] for name in before} == before
    assert sorted(after)[: len(before)] == sorted(before)
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    ("files", "patches", "distinct"),
    [
        (_photos(0, 1, 2, 3) | {"Positive/copy.jpg": PICTURES[3]}, 5, 4),
        (_photos(0, 1, 2) | {"deeper/Positive/renamed.jpg": PICTURES[3]}, 4, 4),
    ],
    ids=["copied", "renamed"],
)
def test_a_new_path_for_known_bytes_is_a_row_and_no_more_bytes(
    site: Site, files: Files, patches: int, distinct: int
) -> None:
    site.take_in(_photos(0, 1, 2, 3))
    before = site.shards
    report = site.take_in(files)
    site.require(files)
    assert site.shards == before
    assert (report["patches"], report["distinct_patches"]) == (patches, distinct)


def test_what_is_known_is_not_inspected_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.take_in(_photos(0, 1, 2))
    inspected: list[bytes] = []
    inspect = intake.inspect_patch

    def note(content: bytes, size: int) -> Any:
        inspected.append(content)
        return inspect(content, size)

    monkeypatch.setattr(intake, "inspect_patch", note)
    site.take_in(_photos(0, 1, 2, 3))
    assert inspected == [PICTURES[3]]
    site.take_in(_photos(1, 2, 3))  # and after rows have moved
    site.take_in(_photos(1, 2, 3))
    assert inspected == [PICTURES[3]]


@pytest.mark.parametrize(
    ("gone", "rewritten"),
    [
        ([0], ["part-00000.parquet"]),
        ([7], ["part-00002.parquet"]),
        ([2, 6], ["part-00000.parquet", "part-00001.parquet"]),
    ],
)
def test_only_shards_that_held_removed_files_are_written_again(
    site: Site, gone: list[int], rewritten: list[str]
) -> None:
    # Negative/00 02 04 | 06, Positive/01 03 | 05 07
    site.take_in(_photos(*range(8)))
    before = site.shards
    left = _photos(*(number for number in range(8) if number not in gone))
    site.take_in(left)
    site.require(left)
    after = site.shards
    changed = [name for name in before if after.get(name) != before[name]]
    assert changed == rewritten
    assert not any(PICTURES[number] in content for content in after.values() for number in gone)


def test_a_shard_of_removed_files_only_is_removed_and_its_number_not_used_again(
    site: Site,
) -> None:
    site.take_in(_photos(*range(8)))
    middle = _photos(*(set(range(8)) - {6, 1, 3}))
    site.take_in(middle)
    site.require(middle)
    assert list(site.shards) == ["part-00000.parquet", "part-00002.parquet"]
    site.take_in(middle | _photos(9))
    site.require(middle | _photos(9))
    assert list(site.shards)[-1] == "part-00003.parquet"


@pytest.mark.parametrize("row_group", [2, 3, manifest.ROW_GROUP])
def test_when_all_files_are_others_it_is_as_if_nothing_had_been_stored(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_group: int
) -> None:
    monkeypatch.setattr(manifest, "ROW_GROUP", row_group)
    site.take_in(_photos(*range(8)))
    site.take_in(_photos(*range(1, 8)))
    before = site.outputs
    site.take_in(_photos(*range(1, 8)))
    assert site.outputs == before
    site.take_in(_photos(*range(10, 18)))
    site.require(_photos(*range(10, 18)))
    assert next(iter(site.shards)) == "part-00000.parquet"
    assert site.outputs == _fresh(tmp_path, _photos(*range(10, 18))).outputs


# --- labels ---------------------------------------------------------------------------------------

BEFORE = _photos(*range(8))
RELABELLED = {
    ("Positive/04.jpg" if path == "Negative/04.jpg" else path): content
    for path, content in BEFORE.items()
}


@pytest.mark.parametrize("value", [None, "", "0", "yes"])
def test_another_label_is_refused_and_listed_and_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    site.take_in(BEFORE)
    before = site.outputs
    if value is not None:
        monkeypatch.setenv(ACCEPT_RELABELS, value)
    with pytest.raises(DataError, match="come with another label: 1") as refusal:
        site.take_in(RELABELLED | _photos(20))
    said = str(refusal.value)
    assert len(said.splitlines()) == 1
    assert "Positive/04.jpg: `no crack` before, `crack` now" in said
    assert str(site.paths.relabels) in said
    after = site.outputs
    assert after.pop("reports/relabels.csv") == (
        b'"path","before","now"\n"Positive/04.jpg","no crack","crack"\n'
    )
    assert after == before


def test_every_changed_label_is_listed(site: Site) -> None:
    site.take_in(_photos(*range(6)))
    exchanged = {
        f"{'Negative' if _label(path) == CRACK else 'Positive'}/{Path(path).name}": content
        for path, content in _photos(*range(6)).items()
    }
    with pytest.raises(DataError, match="another label: 6"):
        site.take_in(exchanged)
    lines = site.paths.relabels.read_text().splitlines()
    assert [line.split(",")[0].strip('"') for line in lines[1:]] == sorted(exchanged)


@pytest.mark.usefixtures("accepted")
def test_an_accepted_label_changes_in_manifest_and_shard_and_nowhere_else(site: Site) -> None:
    site.take_in(BEFORE)
    before = site.shards
    site.take_in(RELABELLED)
    site.require(RELABELLED)
    after = site.shards
    assert [name for name in before if after[name] != before[name]] == ["part-00000.parquet"]
    assert sorted(after) == sorted(before)
    assert not site.paths.relabels.exists()


def test_an_accepted_label_is_questioned_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.take_in(BEFORE)
    with pytest.raises(DataError):
        site.take_in(RELABELLED)
    with monkeypatch.context() as patch:
        patch.setenv(ACCEPT_RELABELS, "1")
        site.take_in(RELABELLED)
    assert not site.paths.relabels.exists()
    before = site.outputs
    site.take_in(RELABELLED)
    assert site.outputs == before


def test_a_list_of_changed_labels_goes_when_they_are_put_right(site: Site) -> None:
    site.take_in(BEFORE)
    before = site.outputs
    with pytest.raises(DataError):
        site.take_in(RELABELLED)
    site.take_in(BEFORE)
    assert site.outputs == before


def test_a_file_under_both_labels_has_no_other_label_than_before(site: Site) -> None:
    site.take_in(BEFORE)
    before = site.shards
    both = BEFORE | {"Positive/04.jpg": PICTURES[4]}
    for _ in range(2):
        site.take_in(both)
        site.require(both)
    assert site.shards == before
    site.take_in(BEFORE)
    site.require(BEFORE)


def test_losing_the_stored_label_of_two_is_another_label(site: Site) -> None:
    site.take_in(BEFORE | {"Positive/04.jpg": PICTURES[4]})
    with pytest.raises(DataError, match=r"Positive/04\.jpg: `no crack` before, `crack` now"):
        site.take_in(RELABELLED)


# --- another size, damage -------------------------------------------------------------------------


def test_another_patch_size_takes_in_other_files(site: Site, tmp_path: Path) -> None:
    large = {f"{folder}/large.jpg": picture(i, size=40) for i, folder in enumerate(FOLDERS)}
    files = _photos(0, 1, 2) | large
    site.take_in(files)
    site.require(_photos(0, 1, 2))
    site.take_in(files, patch_size=40)
    site.require(large)
    assert [one["reason"] for one in site.quarantine] == ["wrong size: 32×32, not 40×40 pixels"] * 3
    assert site.outputs == _fresh(tmp_path, files, patch_size=40).outputs
    site.take_in(files)
    site.require(_photos(0, 1, 2))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _other_facts_of_an_older_version(path: Path) -> None:
    table = read_table(path)
    older = with_column(table, "brightness", [0.0] * len(table))
    write_table(older.replace_schema_metadata({"inspection_version": "0"}), path)


@pytest.mark.parametrize("spoil", [Path.unlink, _cut, _other_facts_of_an_older_version])
@pytest.mark.parametrize("files", [BEFORE, _photos(*range(1, 12))], ids=["same", "others"])
def test_facts_that_cannot_be_used_are_measured_again_with_the_same_result(
    site: Site, tmp_path: Path, spoil: Callable[[Path], None], files: Files
) -> None:
    other = _fresh(tmp_path, BEFORE)
    other.take_in(files)
    site.take_in(BEFORE)
    spoil(site.paths.manifest)
    site.take_in(files)
    assert site.outputs == other.outputs


def test_a_damaged_shard_is_refused_and_changes_nothing(site: Site) -> None:
    site.take_in(BEFORE)
    (site.paths.images / "part-00001.parquet").write_bytes(b"no table")
    before = site.outputs
    with pytest.raises(DataError, match=r"part-00001\.parquet is damaged .*dvc checkout"):
        site.take_in(BEFORE | _photos(20))
    assert site.outputs == before


def test_a_disk_without_hard_links_gets_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    write_files(tmp_path, {"a": b"content"})
    link_or_copy(tmp_path / "a", tmp_path / "linked")
    assert (tmp_path / "linked").stat().st_ino == (tmp_path / "a").stat().st_ino
    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"content"
    assert (tmp_path / "copied").stat().st_ino != (tmp_path / "a").stat().st_ino


# --- killed ---------------------------------------------------------------------------------------

#: What a killed run was about to do to `BEFORE`.
CHANGES: dict[str, Files] = {
    "nothing": BEFORE,
    "append": BEFORE | _photos(9, 10, 20),
    "remove": _photos(0, 1, 3, 7),
    "replace": _photos(*range(10, 18)),
    "relabel": RELABELLED,
    "all of it": {path: RELABELLED[path] for path in list(RELABELLED)[2:]} | _photos(9, 20),
}


@dataclass(frozen=True)
class Killed:
    """What lay where before a run, and what would lie there after it."""

    place: Paths
    before: Path
    after: Path

    def put(self, target: Path, state: Path) -> None:
        """Make `target`, an output or what a run calls it meanwhile, as it is in a state."""
        name = target.name.removeprefix(".").removesuffix(".partial").removesuffix(".old")
        source = state / "data" / name
        remove(target)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)

    def meanwhile(self, name: str) -> Path:
        return self.place.images.with_name(name)


def _before_anything_moved(run: Killed) -> None:
    run.put(run.meanwhile(".images.partial"), run.after)
    run.put(run.meanwhile(".manifest.parquet.partial"), run.after)


def _while_writing(run: Killed) -> None:
    _before_anything_moved(run)
    for file in (
        max(run.meanwhile(".images.partial").iterdir()),
        run.meanwhile(".manifest.parquet.partial"),
    ):
        file.write_bytes(b"half of it")


def _only_the_manifest_moved(run: Killed) -> None:
    run.put(run.place.manifest, run.after)
    run.put(run.meanwhile(".images.partial"), run.after)


def _only_the_shards_moved(run: Killed) -> None:
    run.put(run.place.images, run.after)
    run.put(run.meanwhile(".manifest.parquet.partial"), run.after)


def _between_the_two_renames(run: Killed) -> None:
    _only_the_manifest_moved(run)
    run.place.images.rename(run.meanwhile(".images.old.partial"))


def _before_the_old_shards_were_removed(run: Killed) -> None:
    run.put(run.place.manifest, run.after)
    run.put(run.place.images, run.after)
    run.put(run.meanwhile(".images.old.partial"), run.before)


def _while_the_old_shards_were_removed(run: Killed) -> None:
    _before_the_old_shards_were_removed(run)
    min(run.meanwhile(".images.old.partial").iterdir()).unlink()


def _before_the_reports(run: Killed) -> None:
    run.put(run.place.manifest, run.after)
    run.put(run.place.images, run.after)


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "moment",
    [
        _while_writing,
        _before_anything_moved,
        _only_the_manifest_moved,
        _only_the_shards_moved,
        _between_the_two_renames,
        _before_the_old_shards_were_removed,
        _while_the_old_shards_were_removed,
        _before_the_reports,
    ],
)
def test_whenever_a_run_is_killed_the_next_one_ends_where_it_would_have(
    site: Site, tmp_path: Path, moment: Callable[[Killed], None], change: str
) -> None:
    site.take_in(BEFORE)
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(site.paths.root, before)
    site.take_in(CHANGES[change])
    undisturbed = site.outputs
    site.paths.root.rename(after)
    shutil.copytree(before, site.paths.root)
    moment(Killed(site.paths, before, after))
    site.take_in(CHANGES[change])
    assert site.outputs == undisturbed


@pytest.mark.usefixtures("accepted")
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_written_on_the_way_has_a_name_that_the_next_run_clears(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    site.take_in(BEFORE)
    written: list[Path] = []
    write = pq.write_table

    def note(table: pa.Table, path: Path, **options: Any) -> None:
        write(table, path, **options)
        written.append(path)

    monkeypatch.setattr(pq, "write_table", note)
    site.take_in(CHANGES[change])
    data = site.paths.images.parent
    assert {path.relative_to(data).parts[0] for path in written} <= {
        ".images.partial",
        ".manifest.parquet.partial",
    }


@pytest.mark.parametrize(
    "moment", [_while_writing, _before_anything_moved, _only_the_manifest_moved]
)
def test_a_first_run_that_is_killed_leaves_nothing_to_the_next_one(
    site: Site, tmp_path: Path, moment: Callable[[Killed], None]
) -> None:
    site.take_in(BEFORE)
    undisturbed = site.outputs
    site.paths.root.rename(tmp_path / "after")
    site.paths.images.parent.mkdir(parents=True)
    moment(Killed(site.paths, tmp_path / "nowhere", tmp_path / "after"))
    site.take_in(BEFORE)
    assert site.outputs == undisturbed


# --- any history ----------------------------------------------------------------------------------

NAMES = [f"{folder}/{name}.jpg" for folder in FOLDERS for name in "abcd"]


def _has_both_labels(files: Mapping[str, int]) -> bool:
    return {_label(path) for path in files} == set(LABELS)


states = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 7)).filter(_has_both_labels)


def _labels_of(rows: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(row["id"], row["label"]) for row in rows}


def _still_right(shards: Path, site: Site) -> dict[str, bytes]:
    """Return the shards of before in which every patch still has a file with its label."""
    return {
        shard.name: shard.read_bytes()
        for shard in sorted(shards.iterdir())
        if _labels_of(read_table(shard, ["id", "label"]).to_pylist()) <= _labels_of(site.rows)
    }


@settings(max_examples=15, deadline=None)
@given(history=st.lists(states, min_size=2, max_size=4))
def test_whatever_came_and_went_every_row_leads_to_its_bytes(
    history: list[dict[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "draw_examples", lambda *_: None)
        patch.setenv(ACCEPT_RELABELS, "1")
        site = Site(Path(folder))
        for state in history:
            files = {path: PICTURES[number] for path, number in state.items()}
            before = write_files(Path(tempfile.mkdtemp(dir=folder)), site.shards)
            site.take_in(files)
            site.require(files)
            assert _still_right(before, site).items() <= site.shards.items()
        last = site.outputs
        site.take_in(files)
        assert site.outputs == last
