"""Great Expectations: a sound data set passes, and each defect is told of by its own name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cracks.environment import settle_environment
from cracks.expectations import (
    DERIVED_COLUMNS,
    expectations_on_files,
    expectations_on_manifest,
    expectations_table,
    run_validation,
)
from cracks.labels import CRACK, NO_CRACK
from cracks.manifest import SCHEMA
from cracks.params import IngestParams, SampleParams, ValidateParams
from cracks.reports import Report

pytestmark = pytest.mark.integration

PATCHES = 200
LIMITS = ValidateParams(
    min_patches=100,
    min_class_share=0.3,
    max_quarantine_share=0.02,
    min_brightness=15.0,
    max_brightness=245.0,
)
INGEST = IngestParams(
    source="sample", patch_size=227, shard_rows=64, sample=SampleParams(patches=PATCHES, seed=1)
)


@dataclass(frozen=True)
class Data:
    """What the validation sees: the manifest, and the files that were refused."""

    patches: pd.DataFrame
    quarantine: pd.DataFrame

    @property
    def manifest(self) -> pd.DataFrame:
        """The manifest with the columns that are derived from it."""
        is_crack = (self.patches["label"] == CRACK).astype(float)
        labels = self.patches.groupby("id")["label"].transform("nunique")
        return self.patches.assign(is_crack=is_crack, labels_of_content=labels)

    @property
    def files(self) -> pd.DataFrame:
        accepted = self.patches[["path", "label"]]
        accepted = accepted.assign(reason="", decoded="yes", accepted="yes")
        return pd.concat([accepted, self.quarantine], ignore_index=True)

    def with_patches(self, rows: slice, **values: Any) -> Data:
        """Return the data with other values in some rows of the manifest."""
        patches = self.patches.copy()
        for column, value in values.items():
            patches.loc[patches.index[rows], column] = value
        return replace(self, patches=patches)


def sound_data() -> Data:
    """Return as many cracked as clean patches; two files were refused."""
    rows = range(PATCHES)
    patches = pd.DataFrame(
        {
            "id": [f"{number:064x}" for number in rows],
            "path": [f"{('Negative', 'Positive')[n % 2]}/{n:05d}.jpg" for n in rows],
            "label": [(NO_CRACK, CRACK)[number % 2] for number in rows],
            "shard": "part-0000.parquet",
            "row": list(rows),
            "width": 227,
            "height": 227,
            "mode": "RGB",
            "format": "JPEG",
            "size_bytes": 9000,
            "brightness": [100.0 + number % 50 for number in rows],
            "contrast": 20.0,
            "sharpness": 50.0,
        }
    )
    assert list(patches.columns) == SCHEMA.names
    return Data(patches, refused(2, "not a JPEG or PNG image", decoded="no"))


def refused(count: int, reason: str, decoded: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"Positive/bad-{number}.jpg" for number in range(count)],
            "label": CRACK,
            "reason": reason,
            "decoded": decoded,
            "accepted": "no",
        }
    )


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle_environment()


@pytest.fixture
def validated(tmp_path: Path) -> Callable[[Data], Report]:
    """Runs the validation and returns its report."""

    def run(data: Data) -> Report:
        return run_validation(data.manifest, data.files, LIMITS, INGEST, tmp_path / "docs")

    return run


def broken(report: Report) -> set[str]:
    return {row["name"] for row in report["expectations"] if not row["success"]}


def test_there_are_twelve_expectations_on_patches_and_two_on_files() -> None:
    # The library drops expectations that it does not know without a word.
    assert len(expectations_on_manifest(LIMITS, INGEST)) == 12
    assert len(expectations_on_files(LIMITS)) == 2


def test_every_expectation_is_checked_and_a_sound_data_set_keeps_them_all(
    validated: Callable[[Data], Report],
) -> None:
    report = validated(sound_data())
    expected = {*expectations_on_manifest(LIMITS, INGEST), *expectations_on_files(LIMITS)}
    assert {row["name"] for row in report["expectations"]} == expected
    assert len(report["expectations"]) == 14
    assert broken(report) == set()
    assert (report["success"], report["patches"]) == (True, PATCHES)
    assert not any("could not be checked" in row["observed"] for row in report["expectations"])


def test_the_result_can_be_browsed(validated: Callable[[Data], Report], tmp_path: Path) -> None:
    validated(sound_data().with_patches(slice(3, 4), label="craack"))
    index = tmp_path / "docs/index.html"
    assert "manifest" in index.read_text(encoding="utf-8")
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "docs").rglob("*.html")]
    for shown in ("craack", "only known labels", "no copy under both labels"):
        assert any(shown in page for page in pages), shown


def test_one_page_says_it_all_without_a_network(
    validated: Callable[[Data], Report], tmp_path: Path
) -> None:
    validated(sound_data().with_patches(slice(3, 4), label="craack"))
    page = (tmp_path / "docs/overview.html").read_text(encoding="utf-8")
    for shown in ("craack", "broken (critical)", *expectations_on_manifest(LIMITS, INGEST)):
        assert shown in page, shown
    assert "http" not in page
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 2
    assert all((tmp_path / "docs" / link).is_file() for link in links)


def test_nothing_is_left_in_the_folder_of_temporary_files(
    validated: Callable[[Data], Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    validated(sound_data())
    assert list(temporary.iterdir()) == []


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong, what it breaks, and what the report says of it."""

    spoilt: Callable[[Data], Data]
    breaks: str
    observed: str
    example: str | None = None  # the path of one of the rows that are shown
    also: tuple[str, ...] = ()
    critical: bool = True


def twice_under_both_labels(data: Data) -> Data:
    return data.with_patches(slice(0, 2), id="a" * 64)


def with_few_patches(data: Data) -> Data:
    return Data(data.patches.head(60), data.quarantine.head(0))


def with_one_label(data: Data) -> Data:
    return data.with_patches(slice(None), label=CRACK)


def with_few_cracks(data: Data) -> Data:
    return data.with_patches(slice(0, 170), label=NO_CRACK)


def with_many_refused(reason: str, decoded: str) -> Callable[[Data], Data]:
    return lambda data: replace(data, quarantine=refused(10, reason, decoded))


def with_another_column(data: Data) -> Data:
    return replace(data, patches=data.patches.rename(columns={"sharpness": "blur"}))


DEFECTS = {
    "a wrong label": Defect(
        lambda data: data.with_patches(slice(5, 6), label="craack"),
        "only known labels",
        "1 of 200",
        "Positive/00005.jpg",
    ),
    "one label only": Defect(
        with_one_label, "both labels present", "1", also=("labels in balance",)
    ),
    "few cracks": Defect(with_few_cracks, "labels in balance", "0.075"),
    "a copy under both labels": Defect(
        twice_under_both_labels, "no copy under both labels", "2 of 200", "Positive/00001.jpg"
    ),
    "a wrong width": Defect(
        lambda data: data.with_patches(slice(4, 5), width=226),
        "width in pixels",
        "1 of 200",
        "Negative/00004.jpg",
    ),
    "a wrong height": Defect(
        lambda data: data.with_patches(slice(4, 5), height=228),
        "height in pixels",
        "1 of 200",
        "Negative/00004.jpg",
    ),
    "a grey photograph": Defect(
        lambda data: data.with_patches(slice(7, 8), mode="L"),
        "colour photographs",
        "1 of 200",
        "Positive/00007.jpg",
        critical=False,
    ),
    "a flat colour": Defect(
        lambda data: data.with_patches(slice(9, 10), contrast=0.0),
        "not a single flat colour",
        "1 of 200",
        "Positive/00009.jpg",
        critical=False,
    ),
    "all dark": Defect(
        lambda data: data.with_patches(slice(None), brightness=3.0),
        "neither black nor white",
        "200 of 200",
        "Negative/00000.jpg",
    ),
    "all white": Defect(
        lambda data: data.with_patches(slice(None), brightness=250.0),
        "neither black nor white",
        "200 of 200",
        "Negative/00000.jpg",
    ),
    "many that do not decode": Defect(
        with_many_refused("not a JPEG or PNG image", "no"),
        "decodable",
        "10 of 210",
        "Positive/bad-0.jpg",
        also=("quarantine share",),
    ),
    "many of a wrong size": Defect(
        with_many_refused("wrong size: 100×100, not 227×227 pixels", "yes"),
        "quarantine share",
        "10 of 210",
        "Positive/bad-0.jpg",
    ),
    "too few patches": Defect(with_few_patches, "enough patches", "60"),
    "a bad id": Defect(
        lambda data: data.with_patches(slice(2, 3), id="not a digest"),
        "identity of every patch",
        "1 of 200",
        "Negative/00002.jpg",
    ),
    "another column": Defect(with_another_column, "schema", "blur"),
}


def test_each_expectation_has_a_defect_that_breaks_it() -> None:
    expected = {*expectations_on_manifest(LIMITS, INGEST), *expectations_on_files(LIMITS)}
    assert {defect.breaks for defect in DEFECTS.values()} == expected


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_is_told_of_by_its_name_with_what_was_seen_and_where(
    validated: Callable[[Data], Report], defect: Defect
) -> None:
    report = validated(defect.spoilt(sound_data()))
    assert broken(report) == {defect.breaks, *defect.also}
    assert report["success"] is not defect.critical
    (row,) = (row for row in report["expectations"] if row["name"] == defect.breaks)
    assert row["severity"] == ("critical" if defect.critical else "warning")
    assert defect.observed in row["observed"]
    assert len(row["examples"]) <= 5
    paths = [example["path"] for example in row["examples"]]
    assert defect.example in paths if defect.example else paths == []


def test_a_few_bad_patches_and_files_within_the_limits_are_allowed(
    validated: Callable[[Data], Report],
) -> None:
    data = sound_data().with_patches(slice(0, 2), brightness=3.0)
    assert broken(validated(replace(data, quarantine=data.quarantine.head(4)))) == set()


def test_a_missing_value_is_not_passed_over(validated: Callable[[Data], Report]) -> None:
    report = validated(sound_data().with_patches(slice(5, 6), label=None))
    assert not report["success"]


def test_the_table_for_people_begins_with_what_is_broken(
    validated: Callable[[Data], Report],
) -> None:
    report = validated(DEFECTS["a wrong label"].spoilt(sound_data()))
    table = expectations_table(report["expectations"])
    assert len(table) == 14
    first = table[0]
    assert first["expectation"] == "only known labels"
    assert first["result"] == "broken (critical)"
    assert "1 of 200 rows" in first["observed"]
    assert set(first["examples"].split(" · ")) == {"Positive/00005.jpg", "craack"}
    assert {row["result"] for row in table[1:]} == {"ok"}


def test_the_derived_columns_are_those_that_the_expectations_look_at() -> None:
    assert list(sound_data().manifest.columns) == [*SCHEMA.names, *DERIVED_COLUMNS]
