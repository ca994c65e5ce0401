"""Registration on a real store: what is judged, what is written, and what is left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from processes import CHECKOUT, git
from servers import tracking_address

from cracks.dataset.shards import ShardRow, ShardWriter, shard_name
from cracks.errors import ParamsError
from cracks.evaluation.metrics import Scored
from cracks.evaluation.slices import slice_rows
from cracks.registry.gate import RegisterReport
from cracks.registry.mlflow_store.records import ModelVersion, TrainingRecord
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.mlflow_store.training_runs import PATCHES_ARTIFACT
from cracks.registry.tags import LEDGER_TAG
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params, set_params
from cracks.workspace.paths import STAGES, Paths
from cracks.workspace.reports import write_report
from cracks.workspace.stage_reports import KINDS
from cracks.workspace.tables import write_csv, write_table
from tasks.register import register
from tests.integration.bundles import grey_image, make_bundle

pytestmark = pytest.mark.timeout(300)

SIZE = 32
PATCHES = 1600

#: A patch of this grey or a brighter one is cracked; its score is its brightness.
CRACKED_FROM = 128
GREYS = np.resize(np.arange(256), PATCHES)
SPLITS = np.array(["test"] * (PATCHES - 400) + ["train"] * 300 + ["validation"] * 100)
IDS = [f"{i:064x}" for i in range(PATCHES)]


class Site:
    """A workspace as the stages leave it, with a model that finds cracks by brightness."""

    def __init__(self, root: Path, model: Path) -> None:
        self.paths, self._model = Paths(root), model

    def prepare(self) -> None:
        """Write what does not depend on the model."""
        paths = self.paths
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(CHECKOUT / name, paths.root)
        self.set("ingest.patch_size=32", "register.limits={evaluate.test.accuracy: {min: 0.6}}")
        lock = "stages:\n  ingest:\n    outs:\n    - path: data/images\n      md5: 0123.dir\n"
        paths.pipeline_lock.write_text(lock)
        writer = ShardWriter(paths.images, 500)
        cracked = np.where(GREYS >= CRACKED_FROM, "crack", "no crack")
        for id_, grey, label in zip(IDS, GREYS, cracked, strict=True):
            content = grey_image(int(grey), size=SIZE)
            writer.add(ShardRow(id=id_, label=str(label), content=content, path=f"{id_}.png"))
        writer.flush()
        rows = np.arange(PATCHES)
        manifest = {
            "id": IDS,
            "source": ["photos.zip"] * PATCHES,
            "path": [f"{id_}.png" for id_ in IDS],
            "label": cracked.tolist(),
            "shard": [shard_name(int(row) // 500) for row in rows],
            "row": pa.array(rows % 500, pa.int32()),
        }
        write_table(pa.table(manifest), paths.manifest)
        self.assign_splits(SPLITS)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it stands"]):
            git(paths.root, *command)

    def assign_splits(self, splits: Any) -> None:
        """Assign the patches, each a photograph of its own, to splits."""
        self.splits = splits
        table = {"id": IDS, "group": IDS, "split": splits.tolist()}
        write_table(pa.table(table), self.paths.splits)

    def train(self, threshold: float) -> None:
        """Write what a training leaves whose model calls everything above `threshold` cracked."""
        paths, test = self.paths, self.splits == "test"
        shutil.rmtree(paths.root / "models", ignore_errors=True)
        bundle = make_bundle(paths.bundle, size=SIZE, threshold=threshold)
        shutil.copy(self._model, paths.classifier)
        scores, cracked = GREYS / 255, GREYS >= CRACKED_FROM
        columns = {"id": IDS, "split": self.splits.tolist(), "cracked": cracked}
        table = pa.table(columns | {"raw_score": scores, "score": scores})
        write_table(table.filter(pa.array(test)), paths.scores)
        kinds = {"source": ["photos.zip"] * int(test.sum())}
        scored = Scored(cracked[test], scores[test], threshold, np.array(IDS)[test].tolist())
        rows = slice_rows({"brightness": GREYS[test] / 1.0}, kinds, scored)
        write_csv(rows, paths.slices)
        self._write_reports(bundle.digest, threshold, cracked[test] == (scores[test] >= threshold))
        for file in (paths.summary, paths.classification_report, paths.data_card, paths.profile):
            file.write_text("text")
        for file in (
            paths.label_errors,
            paths.label_errors_key,
            paths.behaviour,
            paths.quarantine,
            paths.sites_left_out,
        ):
            file.write_text("id\n")

    def _write_reports(self, digest: str, threshold: float, right: Any) -> None:
        numbers = dict.fromkeys(("precision", "recall", "f1", "roc_auc", "pr_auc", "brier"), 0.9)
        numbers["accuracy"] = float(right.mean())
        intervals = {name: {"low": 0.8, "high": 1.0} for name in numbers}
        reports = {stage: dict.fromkeys(KINDS[stage].__required_keys__, 1.0) for stage in STAGES}
        reports["ingest"] |= {"distinct_patches": PATCHES, "source": "photos.zip"}
        reports["evaluate"] |= {
            "threshold": threshold,
            "validation": numbers,
            "test": numbers | {"intervals": intervals, "worst_case_intervals": intervals},
            "calibration": {"method": "none", "before": {"ece": 0.1}, "after": {"ece": 0.1}},
            "novelty": {"limit": 1.0, "flagged_on_test": {"rate": 0.01}},
            "drawn_surfaces_flagged": {"brick": 1.0},
        }
        reports["export"] |= {"bundle_digest": digest, "sizes": {"model.bin": 1_000_000}}
        for stage, report in reports.items():
            write_report(self.paths.report(stage), report)

    def set(self, *assignments: str) -> None:
        set_params(self.paths.params, assignments)

    @property
    def params(self) -> Params:
        return load_params(self.paths.params)

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.paths, self.params.register_.model_name)

    def register(self) -> RegisterReport:
        return register(self.params, self.paths)

    def champion_of(self, threshold: float) -> ModelVersion:
        """Train, register and make champion."""
        self.train(threshold)
        version = self.tracking.registry.version(self.register()["version"])
        self.tracking.registry.move_aliases(champion=version.version, previous=version.version)
        return version


@pytest.fixture
def site(record: TrainingRecord, tmp_path: Path) -> Iterator[Site]:
    with tracking_address(None):
        site = Site(tmp_path, record.model)
        site.prepare()
        yield site


# Thresholds: 0.5 is never wrong; 0.6 misses a fifth of the cracks.


def test_the_first_model_is_registered_with_what_leads_back_from_it(site: Site) -> None:
    site.train(0.5)
    report = site.register()
    assert (report["verdict"], report["action"], report["version"]) == ("first", "promote", "1")
    assert report["comparison"] == []
    assert [row["metric"] for row in report["limits"]] == ["evaluate.test.accuracy"]
    tags = site.tracking.registry.version("1").tags
    assert {"verdict": "first", "run.id": report["run_id"]}.items() <= tags.items()
    digests = {"git.commit", "dvc.lock.sha256", "data.digest", "bundle.digest"}
    assert digests | {"registered.by", "registered.at"} <= tags.keys()
    run = site.tracking.runs.download(report["run_id"], PATCHES_ARTIFACT, site.paths.root / "got")
    assert run.is_file()


@pytest.mark.slow
def test_the_champion_again_writes_nothing(site: Site) -> None:
    champion = site.champion_of(0.5)
    before = _written(site)
    report = site.register()
    assert (report["verdict"], report["version"]) == ("unchanged", champion.version)
    assert _written(site) == before


def test_a_worse_model_stays_a_run_with_its_reason(site: Site) -> None:
    site.champion_of(0.5)
    site.train(0.6)
    report = site.register()
    assert (report["verdict"], report["action"], report["version"]) == ("worse", "refuse", None)
    assert report["reasons"][-1].startswith("crack recall 0.7768 against the champion's 1.0000")
    tags = site.tracking.runs.tags(report["run_id"])
    assert tags["verdict"] == "worse"
    assert tags["verdict.action"] == "refuse"
    assert tags["verdict.reason"] == "; ".join(report["reasons"])
    assert [one.version for one in site.tracking.registry.versions()] == ["1"]
    before = _written(site)
    assert site.register() == report | {"changed": False}
    assert _written(site) == before


def test_a_better_model_is_registered_with_its_comparison(site: Site) -> None:
    site.champion_of(0.6)
    site.train(0.5)
    report = site.register()
    assert (report["verdict"], report["action"], report["version"]) == ("better", "promote", "2")
    accuracy, recall = report["comparison"]
    assert (recall["challenger"], recall["lost"], recall["margin"]) == (1.0, 0, 0.02)
    assert accuracy["patches"] == 1200
    assert site.register() == report | {"changed": False}


@pytest.mark.kernels
def test_a_champion_is_scored_again_and_not_believed(site: Site) -> None:
    site.champion_of(0.6)
    client = site.tracking
    client.runs.tag(client.registry.version("1").run_id, {"note": "its old metrics are perfect"})
    site.train(0.595)  # other bytes, and the same or better predictions
    report = site.register()
    assert report["comparison"][0]["champion"] < 0.95


def test_a_model_that_is_as_good_may_need_a_person(site: Site) -> None:
    site.champion_of(0.5)
    site.train(0.5001)
    assert site.register()["verdict"] == "not worse"
    site.set("register.margins.accuracy=0.0001")
    report = site.register()
    assert (report["verdict"], report["action"], report["version"]) == ("undecided", "ask", "2")
    assert site.tracking.registry.version("2").tags["verdict"] == "undecided"


def test_a_broken_limit_refuses_even_the_first(site: Site) -> None:
    site.train(0.5)
    site.set(
        "register.limits.slices.brightness.lowest.accuracy.min=1",
        "register.limits.bundle.megabytes.max=0.5",
    )
    report = site.register()
    assert (report["verdict"], report["action"], report["version"]) == ("first", "refuse", None)
    assert report["reasons"][0] == "bundle.megabytes 1 is above its limit 0.5000"
    assert [row["holds"] for row in report["limits"]] == [True, True, False]
    assert site.tracking.registry.versions() == []


def test_a_limit_on_nothing_is_refused_before_anything_is_written(site: Site) -> None:
    site.train(0.5)
    site.set("register.limits.evaluate.test.acuracy.min=0.9")
    with pytest.raises(ParamsError, match=r"Did you mean evaluate\.test\.accuracy"):
        site.register()
    assert not (site.paths.local_tracking / "artifacts").exists()


@pytest.mark.slow
def test_the_champion_is_not_tried_on_what_it_has_learned_from(site: Site) -> None:
    site.champion_of(0.5)
    site.assign_splits(np.roll(SPLITS, 200))
    site.train(0.5001)
    rows = site.register()["comparison"]
    assert rows[0]["patches"] == int(((np.roll(SPLITS, 200) == "test") & (SPLITS == "test")).sum())


@pytest.mark.slow
def test_what_was_taken_out_of_service_is_not_promoted_by_itself(site: Site) -> None:
    site.champion_of(0.6)
    site.train(0.5)
    assert site.register()["action"] == "promote"
    registry = site.tracking.registry
    registry.tag("2", {LEDGER_TAG: "0" * 64})  # it was promoted, and then rolled back
    report = site.register()
    assert (report["verdict"], report["action"], report["version"]) == ("better", "ask", "2")
    assert "version 2 was in service before" in report["reasons"][-1]
    assert site.register() == report | {"changed": False}


def _written(site: Site) -> Any:
    """Return what the store knows."""
    runs = [one.run_id for one in site.tracking.registry.versions()]
    files = sorted(path for path in site.paths.local_tracking.rglob("*") if path.is_file())
    tags = [site.tracking.runs.tags(run) for run in runs]
    return json.dumps([[str(file) for file in files if "mlflow.db" not in file.name], tags])
