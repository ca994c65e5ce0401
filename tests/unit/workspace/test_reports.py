"""Reports: JSON in git."""

from __future__ import annotations

from pathlib import Path

import pytest

from cracks.errors import WorkspaceError
from cracks.workspace.paths import STAGES, Paths
from cracks.workspace.reports import flatten, read_json, read_report, write_report
from cracks.workspace.stage_reports import KINDS, FeaturizeReport, ValidateReport, read_reports


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    report = {"source": "Größe", "counts": {"crack": 2}, "rows": [1.5, None, True]}
    write_report(tmp_path / "reports" / "split.json", report)
    assert read_json(tmp_path / "reports" / "split.json") == report


def test_a_number_that_is_none_is_refused_and_the_old_report_stays(tmp_path: Path) -> None:
    write_report(tmp_path / "train.json", {"loss": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path / "train.json", {"loss": float("nan")})
    assert read_json(tmp_path / "train.json") == {"loss": 0.5}


@pytest.mark.parametrize("content", [b'{"loss": ', b"", b"\xff\xfe\xfa", b"[1]", b"null"])
def test_a_damaged_report_says_how_to_remake_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(WorkspaceError, match=r"train\.json .*Run `dvc repro` to remake it"):
        read_json(tmp_path / "train.json")


def test_a_missing_report_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"train\.json does not exist. Run `dvc repro`"):
        read_json(tmp_path / "train.json")


VALIDATED: ValidateReport = {"success": True, "patches": 2, "expectations": []}


def test_every_stage_has_a_type_of_report() -> None:
    assert tuple(KINDS) == STAGES


def test_a_report_may_lack_what_its_stage_need_not_write(tmp_path: Path) -> None:
    write_report(tmp_path / "validate.json", VALIDATED)
    assert read_report(tmp_path / "validate.json", ValidateReport) == VALIDATED


def test_a_report_without_a_key_of_its_stage_is_refused(tmp_path: Path) -> None:
    write_report(tmp_path / "featurize.json", {"architecture": "cnn", **VALIDATED})
    said = r"featurize\.json lacks agreement_with_keras, .*sha256\. Run `dvc repro featurize`"
    with pytest.raises(WorkspaceError, match=said):
        read_report(tmp_path / "featurize.json", FeaturizeReport)


def test_reports_are_read_by_stage(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_report(paths.report("validate"), VALIDATED)
    assert read_reports(paths, ["validate"]) == {"validate": VALIDATED}
    with pytest.raises(WorkspaceError, match=r"ingest\.json does not exist"):
        read_reports(paths, ["ingest", "validate"])


def test_only_the_numbers_of_a_report_are_metrics() -> None:
    report = {"epochs": 3, "ok": True, "name": "cnn", "rows": [1], "test": {"recall": 0.5, "x": {}}}
    assert flatten(report) == {"epochs": 3.0, "test.recall": 0.5}
    assert flatten(report["test"], "a.") == {"a.recall": 0.5}
