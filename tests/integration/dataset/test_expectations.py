"""Great Expectations: a sound data set passes, and each defect is told of by its own name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from cracks.dataset.labels import CRACK, LEFT_OUT, NO_CRACK, SPLITS
from cracks.dataset.manifest import QUARANTINE_COLUMNS
from cracks.dataset.validate import contact_sheets
from cracks.dataset.validate.checked_tables import (
    SEEN,
    files_table,
    patches_table,
    sides_table,
    splits_table,
)
from cracks.dataset.validate.drift import NO_DRIFT, WATCHED
from cracks.dataset.validate.expectations import (
    CRITICAL,
    FOUND,
    TOLERATED,
    WARNING,
    run_validation,
    suites,
)
from cracks.dataset.validate.results_page import EXAMPLES, expectations_table
from cracks.errors import ValidationFailed
from cracks.workspace.params import Params, ValidateParams
from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_json
from cracks.workspace.stage_reports import ValidateReport
from tasks.ingest import ingest
from tasks.split import split
from tasks.validate import validate
from tests.unit.builders import ingest_params, params_with, saved, surface, write_files

PATCHES, SIZE = 200, 227
LIMITS = ValidateParams(
    min_patches=100,
    min_crack_photographs=5,
    max_quarantine_share=0.02,
    max_left_out_share=0.03,
    min_brightness=15.0,
    max_brightness=245.0,
    min_contrast=1.0,
    max_saturated=0.25,
    min_bytes_per_pixel=0.02,
    max_drift=0.25,
    max_class_change=0.1,
)

#: The expectations that are only shown when they are broken; every other one stops the run.
WARNINGS = {
    "no near-copy under both labels",
    "no photograph in two splits",
    "photographs known",
    "not blank",
    "not saturated",
    "colour photographs",
    "camera held upright (EXIF)",
    "not compressed beyond use",
    *(f"crack photographs in {split}" for split in SPLITS),
    *(
        f"{of}{name} as last accepted"
        for of in ("", "new photographs: ")
        for name in ("brightness", "contrast", "sharpness", "share of cracks")
    ),
}


@cache
def every_name() -> set[str]:
    return {name for suite in suites(LIMITS, SIZE).values() for name in suite}


@dataclass(frozen=True)
class Data:
    """What the validation sees: manifest, splits, the files that were refused, the drift."""

    patches: pd.DataFrame
    splits: pd.DataFrame
    quarantine: pd.DataFrame
    drift: Mapping[str, float]
    delivery: Mapping[str, float]  # the same of what is new

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that are derived of it."""
        return {
            "patches": patches_table(self.patches, self.splits),
            "splits": splits_table(self.splits),
            "files": files_table(self.patches, self.quarantine),
            "sides": sides_table(self.splits),
            "drift": pd.DataFrame([self.drift]),
            "delivery": pd.DataFrame([self.delivery]),
        }

    def with_patches(self, rows: slice, **values: Any) -> Data:
        """Return the data with other values in some rows of the manifest."""
        return replace(self, patches=_changed(self.patches, rows, values))

    def with_splits(self, rows: slice, **values: Any) -> Data:
        """Return the data with other values in some rows of the splits."""
        return replace(self, splits=_changed(self.splits, rows, values))


def _changed(table: pd.DataFrame, rows: slice, values: Mapping[str, Any]) -> pd.DataFrame:
    changed = table.copy()
    for column, value in values.items():
        changed.loc[changed.index[rows], column] = value
    return changed


def sound_data() -> Data:
    """Return as many cracked as clean patches, each in a group of its own; two were refused."""
    rows = range(PATCHES)
    ids = [f"{number:064x}" for number in rows]
    labels = [(NO_CRACK, CRACK)[number % 2] for number in rows]
    patches = pd.DataFrame(
        {
            "id": ids,
            "path": [f"{('Negative', 'Positive')[n % 2]}/{n:05d}.jpg" for n in rows],
            "label": labels,
            "photo": [f"IMG_{number:04}" for number in rows],
            "photo_by": "name",
            "site": "pier",
            "width": SIZE,
            "height": SIZE,
            "mode": "RGB",
            "format": "JPEG",
            "orientation": 1,
            "size_bytes": 9000,
            "bytes_per_pixel": 0.1747,
            "brightness": [100.0 + number % 50 for number in rows],
            "contrast": 20.0,
            "sharpness": 50.0,
            "saturated": 0.0,
        }
    )
    assert tuple(patches.columns) == SEEN
    sides = [SPLITS[number // 2 % 10 // 8 * (1 + number // 2 % 2)] for number in rows]
    splits = pd.DataFrame(
        {"id": ids, "label": labels, "near_copies": ids, "group": ids, "split": sides}
    )
    return Data(patches, splits, refused(2, "not a JPEG or PNG image"), NO_DRIFT, NO_DRIFT)


def refused(count: int, reason: str) -> pd.DataFrame:
    rows = [("photos.zip", f"Positive/bad-{n}.jpg", CRACK, reason) for n in range(count)]
    return pd.DataFrame(rows, columns=list(QUARANTINE_COLUMNS))


Validate = Callable[[Data], ValidateReport]


@pytest.fixture
def validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Runs the validation and returns its report; the pages take longer than the checks."""
    from great_expectations.data_context import EphemeralDataContext

    monkeypatch.setattr(EphemeralDataContext, "build_data_docs", lambda _: None)

    def run(data: Data) -> ValidateReport:
        return run_validation(data.tables, LIMITS, SIZE, tmp_path / "docs")

    return run


def broken(report: ValidateReport) -> set[str]:
    return {row["name"] for row in report["expectations"] if not row["success"]}


def test_every_expectation_is_checked_and_a_sound_data_set_keeps_them_all(
    validated: Validate,
) -> None:
    report = validated(sound_data())
    # The library drops expectations that it does not know without a word.
    assert sorted(row["name"] for row in report["expectations"]) == sorted(every_name())
    warnings = {row["name"] for row in report["expectations"] if row["severity"] == WARNING}
    assert warnings == WARNINGS
    assert broken(report) == set()
    assert (report["success"], report["patches"]) == (True, PATCHES)
    assert not any("could not be checked" in row["observed"] for row in report["expectations"])


def test_the_result_can_be_browsed_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    data = sound_data().with_patches(slice(3, 4), label="craack")
    run_validation(data.tables, LIMITS, SIZE, tmp_path / "docs")
    assert list(temporary.iterdir()) == []
    index = tmp_path / "docs/index.html"
    for name in suites(LIMITS, SIZE):
        assert name in index.read_text(encoding="utf-8")
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "docs").rglob("*.html")]
    for shown in ("craack", "only known labels", "no copy under both labels"):
        assert any(shown in page for page in pages), shown


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong, what it breaks, and what the report says of it."""

    spoilt: Callable[[Data], Data]
    breaks: str
    observed: str
    example: str | None = None  # the path of one of the rows that are shown
    also: tuple[str, ...] = ()


ONE = "1 of 200"


def patch_with(number: int, **values: Any) -> Callable[[Data], Data]:
    return lambda data: data.with_patches(slice(number, number + 1), **values)


def all_with(**values: Any) -> Callable[[Data], Data]:
    return lambda data: data.with_patches(slice(None), **values)


def drifted(name: str, value: float) -> Callable[[Data], Data]:
    return lambda data: replace(data, drift={**data.drift, name: value})


def delivered(name: str, value: float) -> Callable[[Data], Data]:
    return lambda data: replace(data, delivery={**data.delivery, name: value})


def cracks_of_one_photograph(split: str) -> Callable[[Data], Data]:
    def spoilt(data: Data) -> Data:
        of = (data.splits["split"] == split) & (data.splits["label"] == CRACK)
        group = data.splits["group"].where(~of, data.splits["group"][of].iloc[0])
        return replace(data, splits=data.splits.assign(group=group))

    return spoilt


def with_many_refused(reason: str) -> Callable[[Data], Data]:
    return lambda data: replace(data, quarantine=refused(10, reason))


def with_few_patches(data: Data) -> Data:
    return replace(data, patches=data.patches.head(60), quarantine=data.quarantine.head(0))


def with_another_column(data: Data) -> Data:
    return replace(data, patches=data.patches.rename(columns={"size_bytes": "bytes"}))


def twice_under_both_labels(data: Data) -> Data:
    return data.with_patches(slice(1, 2), id=data.patches["id"][0])


def with_bad_id(data: Data) -> Data:
    return data.with_patches(slice(2, 3), id="digest").with_splits(slice(2, 3), id="digest")


def in_two_splits(column: str) -> Callable[[Data], Data]:
    """Return a defect: one name for two patches of one label in different splits."""

    def spoilt(data: Data) -> Data:
        train, test = (
            data.splits.index[(data.splits["split"] == side) & (data.splits["label"] == CRACK)][0]
            for side in ("train", "test")
        )
        return data.with_splits(slice(test, test + 1), **{column: data.splits[column][train]})

    return spoilt


def without_cracks_in_test(data: Data) -> Data:
    splits = data.splits.copy()
    splits.loc[(splits["split"] == "test") & (splits["label"] == CRACK), "split"] = "train"
    return replace(data, splits=splits)


DEFECTS = {
    "another column": Defect(with_another_column, "schema", "'bytes'"),
    "too few patches": Defect(with_few_patches, "enough patches", "60"),
    "a wrong label": Defect(
        patch_with(5, label="craack"), "only known labels", ONE, "Positive/00005.jpg"
    ),
    "a missing label": Defect(
        patch_with(5, label=None), "no copy under both labels", ONE, "Positive/00005.jpg"
    ),
    "one label only": Defect(all_with(label=CRACK), "both labels present", "1"),
    **{
        f"cracks of few photographs in {split}": Defect(
            cracks_of_one_photograph(split), f"crack photographs in {split}", "1"
        )
        for split in SPLITS
    },
    "a bad id": Defect(with_bad_id, "identity of every patch", ONE, "Negative/00002.jpg"),
    "a wrong width": Defect(patch_with(4, width=226), "width in pixels", ONE, "Negative/00004.jpg"),
    "a wrong height": Defect(
        patch_with(4, height=228), "height in pixels", ONE, "Negative/00004.jpg"
    ),
    "a copy under both labels": Defect(
        twice_under_both_labels,
        "no copy under both labels",
        "2 of 200",
        "Positive/00001.jpg",
        also=("no near-copy under both labels",),
    ),
    "a near-copy under both labels": Defect(
        lambda data: data.with_splits(slice(1, 2), near_copies=data.splits["id"][0]),
        "no near-copy under both labels",
        "2 of 200",
        "Positive/00001.jpg",
    ),
    "a patch in no split": Defect(
        lambda data: data.with_splits(slice(1, 2), split=None),
        "every patch in a split",
        ONE,
        "Positive/00001.jpg",
    ),
    "a picture in two splits": Defect(
        in_two_splits("near_copies"), "no picture in two splits", "2 of 200", "Positive/00001.jpg"
    ),
    "a group in two splits": Defect(
        in_two_splits("group"), "no group in two splits", "2 of 200", "Positive/00001.jpg"
    ),
    "a photograph in two splits": Defect(
        all_with(photo="IMG_0000"),
        "no photograph in two splits",
        "200 of 200",
        "Negative/00000.jpg",
    ),
    "photographs unknown": Defect(
        lambda data: data.with_patches(slice(0, 3), photo=None),
        "photographs known",
        "3 of 200",
        "Positive/00001.jpg",
    ),
    "a split without cracks": Defect(
        without_cracks_in_test,
        "every split holds both labels",
        "something is missing",
        also=("crack photographs in test",),
    ),
    "many cracks left out": Defect(
        lambda data: data.with_splits(slice(1, 8, 2), split=LEFT_OUT),
        "few cracks left out of the split",
        "4 of 200",
    ),
    "many clean patches left out": Defect(
        lambda data: data.with_splits(slice(0, 8, 2), split=LEFT_OUT),
        "few clean patches left out of the split",
        "4 of 200",
    ),
    "all dark": Defect(
        all_with(brightness=3.0), "neither black nor white", "200 of 200", "Negative/00000.jpg"
    ),
    "all white": Defect(
        all_with(brightness=250.0), "neither black nor white", "200 of 200", "Negative/00000.jpg"
    ),
    "a flat colour": Defect(patch_with(9, contrast=0.0), "not blank", ONE, "Positive/00009.jpg"),
    "a dazzled camera": Defect(
        patch_with(9, saturated=0.3), "not saturated", ONE, "Positive/00009.jpg"
    ),
    "a grey photograph": Defect(
        patch_with(7, mode="L"), "colour photographs", ONE, "Positive/00007.jpg"
    ),
    "a camera on its side": Defect(
        patch_with(7, orientation=6), "camera held upright (EXIF)", ONE, "Positive/00007.jpg"
    ),
    "a broken orientation": Defect(
        patch_with(7, orientation=0), "camera held upright (EXIF)", ONE, "Positive/00007.jpg"
    ),
    "a file squeezed to nothing": Defect(
        patch_with(8, bytes_per_pixel=0.01), "not compressed beyond use", ONE, "Negative/00008.jpg"
    ),
    "many that do not decode": Defect(
        with_many_refused("not a JPEG or PNG image"),
        "decodable",
        "10 of 210",
        "Positive/bad-0.jpg",
        also=("quarantine share",),
    ),
    "many of a wrong size": Defect(
        with_many_refused("wrong size: 100×100, not 227×227 pixels"),
        "quarantine share",
        "10 of 210",
        "Positive/bad-0.jpg",
    ),
    "darker than before": Defect(
        drifted("brightness", 0.3), "brightness as last accepted", "1 of 1"
    ),
    "flatter than before": Defect(drifted("contrast", 0.3), "contrast as last accepted", "1 of 1"),
    "more blurred than before": Defect(
        drifted("sharpness", 0.3), "sharpness as last accepted", "1 of 1"
    ),
    "fewer cracks than before": Defect(
        drifted("crack_share", 0.2), "share of cracks as last accepted", "1 of 1"
    ),
    **{
        f"a delivery of another {name}": Defect(
            delivered(column, 0.3), f"new photographs: {name} as last accepted", "1 of 1"
        )
        for name, column in {
            **{fact: fact for fact in WATCHED},
            "share of cracks": "crack_share",
        }.items()
    },
}


def test_each_expectation_has_a_defect_that_breaks_it() -> None:
    assert {defect.breaks for defect in DEFECTS.values()} == every_name()


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_is_told_of_by_its_name_with_what_was_seen_and_where_and_what_to_draw(
    validated: Validate, defect: Defect
) -> None:
    data = defect.spoilt(sound_data())
    report = validated(data)
    assert broken(report) == {defect.breaks, *defect.also}
    assert report["success"] is (broken(report) <= WARNINGS)
    (row,) = (row for row in report["expectations"] if row["name"] == defect.breaks)
    assert row["severity"] == (WARNING if defect.breaks in WARNINGS else CRITICAL)
    assert defect.observed in row["observed"]
    assert len(row["examples"]) <= FOUND
    paths = [example["path"] for example in row["examples"] if "path" in example]
    assert defect.example in paths if defect.example else paths == []
    # Examples of patches have an id; files that were refused, drift and counts have none.
    shown = {(example.get("id"), example.get("path")) for example in row["examples"]}
    assert len(shown) == len(row["examples"])
    ids = [id_ for id_, _ in shown if id_]
    assert set(ids) <= set(data.patches["id"])
    is_of_patches = " of 200 rows" in row["observed"]
    assert len(ids) == (min(FOUND, int(row["observed"].split()[2])) if is_of_patches else 0)


WITHIN: dict[str, Callable[[Data], Data]] = {
    "two dark patches": lambda data: data.with_patches(slice(0, 2), brightness=3.0),
    "three of each label left out": lambda data: data.with_splits(slice(0, 6), split=LEFT_OUT),
    "four refused files": lambda data: replace(data, quarantine=refused(4, "empty file")),
    "a little drift": drifted("contrast", 0.25),
    "the limits themselves": all_with(contrast=1.0, saturated=0.25, bytes_per_pixel=0.02),
    "no refused file": lambda data: replace(data, quarantine=data.quarantine.head(0)),
}


@pytest.mark.parametrize("change", WITHIN.values(), ids=WITHIN.keys())
def test_what_is_within_the_limits_is_allowed(
    validated: Validate, change: Callable[[Data], Data]
) -> None:
    assert pytest.approx(0.01) == TOLERATED
    assert broken(validated(change(sound_data()))) == set()


def test_the_table_for_people_begins_with_what_is_broken_and_a_few_examples(
    validated: Validate,
) -> None:
    report = validated(DEFECTS["all dark"].spoilt(sound_data()))
    table = expectations_table(report["expectations"])
    assert len(table) == len(every_name())
    first = table[0]
    assert (first["expectation"], first["result"]) == (
        "neither black nor white",
        "broken (critical)",
    )
    assert "200 of 200 rows" in first["observed"]
    examples = first["examples"].split("; ")
    assert set(examples[0].split(" · ")) == {"Negative/00000.jpg", "no crack", "3.0"}
    assert len(examples) == EXAMPLES
    assert {row["result"] for row in table[1:]} == {"ok"}


# --- The stage: real files, and a page of what is wrong with them


@dataclass(frozen=True)
class Stages:
    """A workspace beside a folder of photographs, and the first three stages over it."""

    folder: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.folder / "workspace")

    @property
    def params(self) -> Params:
        limits = params_with().validate_.model_copy(update={"min_crack_photographs": 5})
        return params_with(ingest=ingest_params(self.folder / "photos"), validate_=limits)

    @property
    def overview(self) -> str:
        return (self.paths.data_docs / "overview.html").read_text(encoding="utf-8")

    @property
    def pictures(self) -> dict[str, str]:
        """The addresses of the pictures of the page by what they show."""
        found = re.findall(r'<img src="([^"]+)" alt="([^"]+)">', self.overview)
        return {shown: address for address, shown in found}

    def add(self, name: str, content: bytes) -> None:
        write_files(self.folder / "photos", {name: content})

    def add_copy_under_the_other_label(self) -> None:
        self.add("Positive/copy/1.png", (self.folder / "photos/Negative/n000/1.png").read_bytes())

    def run(self) -> ValidateReport:
        ingest(self.params, self.paths)
        split(self.params, self.paths)
        return validate(self.params, self.paths)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stages, ValidateReport]:
    """The stages over a sound data set of small photographs, and what validate said."""
    stages = Stages(tmp_path_factory.mktemp("accepted"))
    stages.paths.root.mkdir()
    for number in range(120):
        name = f"{('Negative', 'Positive')[number % 2]}/n{number:03}/1.png"
        stages.add(name, saved(surface(number, size=32)))
    return stages, stages.run()


@pytest.fixture
def stages(accepted: tuple[Stages, ValidateReport], tmp_path: Path) -> Stages:
    """A copy of them, to be changed."""
    shutil.copytree(accepted[0].folder, tmp_path / "copy")
    return Stages(tmp_path / "copy")


def test_the_page_of_a_sound_data_set_says_that_all_holds_and_shows_nothing(
    accepted: tuple[Stages, ValidateReport],
) -> None:
    stages, report = accepted
    assert broken(report) == set()
    assert "All hold" in stages.overview
    assert stages.pictures == {}
    assert not (stages.paths.data_docs / "sheets").exists()
    assert report["drift"] == dict.fromkeys((*WATCHED, "crack_share"), 0.0)


def test_the_page_shows_the_pictures_that_break_an_expectation_and_needs_no_network(
    stages: Stages,
) -> None:
    stages.add("Negative/blank/1.png", saved(np.full((32, 32), 120, np.uint8)))
    stages.add("Positive/dazzled/1.png", saved(np.full((32, 32), 254, np.uint8)))
    assert broken(stages.run()) == {"not blank", "not saturated"}
    page = stages.overview
    assert f"2 of {len(every_name())} expectations are broken" in page
    for shown in ("broken (warning)", "Negative/blank/1.png", *every_name()):
        assert shown in page, shown
    assert "http" not in page
    assert set(stages.pictures) == {"not blank", "not saturated"}
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == len(suites(LIMITS, SIZE))
    for address in [*links, *stages.pictures.values()]:
        assert (stages.paths.data_docs / address).is_file()
    for address in stages.pictures.values():
        with Image.open(stages.paths.data_docs / address) as sheet:
            assert (sheet.format, sheet.width > 500) == ("PNG", True)


def test_a_refusal_leaves_the_page_with_its_pictures_and_is_no_reference(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[str]] = {}
    draw = contact_sheets.draw_contact_sheet

    def note(rows: pa.Table, images: Path, title: str, file: Path) -> None:
        drawn[title] = sorted(rows["path"].to_pylist())
        draw(rows, images, title, file)

    monkeypatch.setattr(contact_sheets, "draw_contact_sheet", note)
    before = read_json(stages.paths.profile)
    stages.add_copy_under_the_other_label()
    with pytest.raises(ValidationFailed, match="no copy under both labels") as refusal:
        stages.run()
    assert str(stages.paths.data_docs / "overview.html") in str(refusal.value)
    assert set(stages.pictures) == {"no copy under both labels", "no near-copy under both labels"}
    assert drawn["no copy under both labels"] == ["Negative/n000/1.png", "Positive/copy/1.png"]
    assert read_json(stages.paths.profile) == before


@pytest.mark.slow
def test_later_data_is_compared_with_the_accepted_and_again_with_the_same(stages: Stages) -> None:
    for number in range(200, 280):
        stages.add(f"Positive/n{number}/1.png", saved(surface(number, size=32) // 2))
    once = stages.run()
    assert {"brightness as last accepted", "share of cracks as last accepted"} <= broken(once)
    assert once["success"]
    assert once["drift"]["crack_share"] == pytest.approx(140 / 200 - 0.5)
    delivery = once["delivery"]
    assert delivery is not None
    assert (delivery["patches"], delivery["cracks"]) == (80, 80)
    assert delivery["sites"] == {"photos": 80}
    assert "new photographs: brightness as last accepted" in broken(once)
    kept = read_json(stages.paths.profile)
    assert validate(stages.params, stages.paths) == once
    assert read_json(stages.paths.profile) == kept
    # What was accepted with a warning is what the next data is compared with.
    (stages.folder / "photos/Positive/n200/1.png").unlink()
    again = stages.run()
    assert max(again["drift"].values()) < 0.1
    assert again["delivery"] is None


def test_a_small_delivery_that_the_whole_hides_is_told_of_by_itself(stages: Stages) -> None:
    for number in range(200, 206):
        stages.add(f"Positive/n{number}/1.png", saved(surface(number, size=32) // 3))
        stages.add(f"Negative/n{number}/2.png", saved(surface(number + 50, size=32) // 3))
    report = stages.run()
    assert "new photographs: brightness as last accepted" in broken(report)
    assert report["drift"]["brightness"] < report["delivery"]["drift"]["brightness"]


def test_a_workspace_that_does_not_know_what_was_new_begins_to_know_it(stages: Stages) -> None:
    stages.paths.accepted.unlink()
    for number in range(200, 280):
        stages.add(f"Positive/n{number}/1.png", saved(surface(number, size=32)))
    assert stages.run()["delivery"] is None
    stages.add("Positive/n300/1.png", saved(surface(300, size=32)))
    delivery = stages.run()["delivery"]
    assert delivery is not None
    assert (delivery["patches"], delivery["photographs"]) == (1, 1)
