"""Photographs arrive: fetched from Mendeley Data, from S3, and in later deliveries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rar import Member, write_rar
from ruamel.yaml import YAML
from s3 import S3Server
from webserver import FileServer, cut

from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.handover.training_summaries import FILE as RUNS
from cracks.workspace.params_file import set_params
from tests.e2e.conftest import Workspace
from tests.unit.builders import write_files

PHOTOGRAPHS = dict(draw_sample(40, seed=11))


def _ingested(workspace: Workspace, source: object, **variables: str) -> None:
    set_params(workspace.root / "params.yaml", [f"ingest.source={source}", "ingest.shard_rows=16"])
    _reproduced(workspace, **variables)


def _reproduced(workspace: Workspace, *options: str, **variables: str) -> str:
    prepared = replace(workspace, variables={**workspace.variables, **variables})
    done = prepared.dvc("repro", "--single-item", *options, "ingest")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _shards(workspace: Workspace) -> dict[str, bytes]:
    return {shard.name: shard.read_bytes() for shard in (workspace.root / "data/images").iterdir()}


def test_the_reference_data_set_is_fetched_kept_and_described(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    archive = write_rar(
        tmp_path / "photos.rar",
        [Member(f"Concrete/{name}", content) for name, content in PHOTOGRAPHS.items()],
    )
    workspace = make_workspace()
    with FileServer(photos=archive.read_bytes()) as server:
        server.names["photos"] = "Concrete Crack Images for Classification.rar"
        server.store.will(cut(0.3))
        _ingested(workspace, "mendeley", CRACKS_MENDELEY_URL=server.base, no_proxy="127.0.0.1")
        assert server.ranges[0] is None
        assert server.ranges[1] is not None, "the second request goes on where the first broke"
        asked = len(server.portal.requests) + len(server.store.requests)
        assert "didn't change" in _reproduced(workspace)
        assert len(server.portal.requests) + len(server.store.requests) == asked
    report = workspace.report("ingest")
    assert (report["source"], report["patches"]) == ("mendeley", len(PHOTOGRAPHS))
    kept = workspace.root / "data/raw" / server.names["photos"]
    assert kept.read_bytes() == archive.read_bytes()
    lock = YAML(typ="safe").load(workspace.root / "dvc.lock")
    assert "data/raw" in {out["path"] for out in lock["stages"]["ingest"]["outs"]}
    card = (workspace.root / "reports/data_card.md").read_text()
    for said in ("10.17632/5y9wdsg2zt.2", "Version 2", "CC BY 4.0", "Özgenel", kept.name):
        assert said in card
    assert report["source_digest"] in card


def test_photographs_come_from_a_bucket_and_of_later_ones_only_new_shards_are_pushed(
    make_workspace: Callable[[], Workspace], s3_server: S3Server
) -> None:
    workspace, bucket = make_workspace(), s3_server.new_bucket()
    early = dict(list(PHOTOGRAPHS.items())[::2])
    write_files(bucket / "inspections", early)
    _ingested(workspace, f"s3://{bucket.name}/inspections", **s3_server.variables)
    assert workspace.report("ingest")["patches"] == len(early)
    assert workspace.dvc("push").returncode == 0
    stored = workspace.root / ".dvc/storage"
    stored_before, before = set(stored.rglob("*")), _shards(workspace)

    write_files(bucket / "inspections", PHOTOGRAPHS)
    _reproduced(workspace, "--force", **s3_server.variables)
    assert workspace.report("ingest")["patches"] == len(PHOTOGRAPHS)
    after = _shards(workspace)
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before
    assert workspace.dvc("push").returncode == 0
    new = set(stored.rglob("*")) - stored_before
    pushed = {path.read_bytes() for path in new if path.is_file()}
    assert {after[name] for name in after.keys() - before.keys()} <= pushed
    assert not set(before.values()) & pushed


@pytest.mark.slow
def test_changed_labels_are_refused_until_they_are_accepted(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    workspace = make_workspace()
    folder = write_files(tmp_path / "photos", PHOTOGRAPHS)
    _ingested(workspace, folder)
    (folder / "Negative/00003.jpg").rename(folder / "Positive/90003.jpg")
    before = workspace.files()
    refused = workspace.cracks("train")
    assert refused.returncode == 1
    error = refused.stderr.splitlines()[-1]
    assert error.startswith("error: ingest: stored photographs come with another label: 1, ")
    assert "Positive/90003.jpg" in error
    assert "--accept-relabels" in error
    list_of_them = "reports/relabels.csv"
    after = workspace.files()
    assert '"Positive/90003.jpg","no crack","crack"' in after.pop(list_of_them).decode()
    # The page /pipeline tells of the refusal.
    told = {f"service/{RUNS}", f"service/.{RUNS}.lock"}
    assert {name: after[name] for name in after.keys() - told} == before
    # So few photographs pass no validation; what counts here is that ingest went through.
    assert workspace.cracks("train", "--accept-relabels").returncode == 1
    labels = workspace.report("ingest")["labels"]
    assert labels == {"no crack": len(PHOTOGRAPHS) // 2 - 1, "crack": len(PHOTOGRAPHS) // 2 + 1}
    assert not (workspace.root / list_of_them).exists()
