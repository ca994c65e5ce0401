"""Freshness: what lies outside of the workspace is seen to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from cracks.dataset.ingest.sources.source_list import open_sources
from cracks.errors import SourceError
from cracks.system.hashing import digest_of_file
from cracks.versioning.external_inputs import outside_input_changed
from cracks.workspace.params import Params
from cracks.workspace.paths import STAGES, Paths
from cracks.workspace.reports import write_report
from tests.unit.builders import ingest_params, params_with, write_files


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "workspace")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_files(tmp_path / "photos", {"Positive/1.jpg": b"1", "Negative/1.jpg": b"2"})


def _ingested(paths: Paths, source: Path | str | list[Path | str]) -> Params:
    """Write the report that ingest leaves after it read `source`."""
    params = params_with(ingest=ingest_params(source))
    with open_sources(params.ingest, paths) as opened:
        write_report(paths.report("ingest"), {"source_digest": opened.digest()})
    return params


def _featurized(paths: Paths, weights: str, digest: str | None) -> Params:
    write_report(paths.report("featurize"), {"weights_sha256": digest})
    featurize = params_with().featurize.model_copy(update={"weights": weights})
    return params_with(featurize=featurize)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_never_ran_is_dvcs_business(paths: Paths, stage: str) -> None:
    assert not outside_input_changed(stage, params_with(), paths)


@pytest.mark.parametrize(
    ("sources", "changed"),
    [
        (["photos"], "photos/Positive/1.jpg"),
        (["photos", "more"], "photos/Positive/1.jpg"),
        (["photos", "more"], "more/Negative/2.jpg"),
    ],
)
def test_sources_are_fresh_until_one_of_their_photographs_changes(
    paths: Paths, photos: Path, sources: list[str], changed: str
) -> None:
    write_files(photos.with_name("more"), {"Negative/2.jpg": b"3"})
    params = _ingested(paths, [photos.with_name(name) for name in sources])
    assert not outside_input_changed("ingest", params, paths)
    (photos.parent / changed).write_bytes(b"other")
    assert outside_input_changed("ingest", params, paths)


def test_a_source_added_to_the_list_is_not_fresh(paths: Paths, photos: Path) -> None:
    _ingested(paths, photos)
    more = params_with(ingest=ingest_params([photos, "sample"]))
    assert outside_input_changed("ingest", more, paths)


def test_the_drawn_sample_is_always_fresh(paths: Paths) -> None:
    assert not outside_input_changed("ingest", _ingested(paths, "sample"), paths)


def test_a_source_that_vanished_is_refused(paths: Paths, photos: Path) -> None:
    params = _ingested(paths, photos)
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(SourceError, match="there is no"):
        outside_input_changed("ingest", params, paths)


@pytest.mark.parametrize("relative", [False, True])
def test_weights_are_fresh_until_their_file_changes(paths: Paths, relative: bool) -> None:
    file = write_files(paths.root, {"my.weights.h5": b"old"}) / "my.weights.h5"
    params = _featurized(paths, file.name if relative else str(file), digest_of_file(file))
    assert not outside_input_changed("featurize", params, paths)
    file.write_bytes(b"new")
    assert outside_input_changed("featurize", params, paths)


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_named_weights_are_always_fresh(paths: Paths, weights: str) -> None:
    write_files(paths.root, {weights: b"a file of that name"})
    assert not outside_input_changed("featurize", _featurized(paths, weights, None), paths)


def test_no_other_stage_reads_anything_outside(paths: Paths) -> None:
    for stage in STAGES:
        if stage not in ("ingest", "featurize"):
            write_report(paths.report(stage), {})
            assert not outside_input_changed(stage, params_with(), paths)
