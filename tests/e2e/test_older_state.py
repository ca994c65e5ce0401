"""What an earlier release left goes on working: registry, service folder, record and keys.

tests/data/older_workspace.tar.xz was made by the code of another day; tests/data/README.md says
how. Only the code is this checkout's.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from processes import CHECKOUT, StartProcess, clone_working_tree

from cracks.monitoring.history import place_of_monitoring, read_windows
from tests.e2e.conftest import Workspace
from tests.integration.services import Service, serving

pytestmark = pytest.mark.slow

ARCHIVE = CHECKOUT / "tests/data/older_workspace.tar.xz"

MODEL = "concrete-crack-classifier"

#: Half a unit of the last digit that scores are recorded with, and what processors differ by.
SAME_SCORE = 1e-4

#: The three versions that were trained: the third one waits for somebody's approval.
FIRST, CHAMPION, WAITING = "1", "2", "3"


@dataclass(frozen=True)
class OlderState:
    """A workspace of this checkout that took over what the earlier release had."""

    workspace: Workspace
    commit: str  # that trained the versions
    key: str  # of the service
    predictions: list[dict[str, Any]]  # what the earlier release answered, in order
    images: dict[str, bytes]  # that it kept, by prediction id

    @property
    def folder(self) -> Path:
        """The service folder."""
        return self.workspace.root / "service"

    @property
    def recorded(self) -> dict[str, float]:
        """The score of each prediction in the record."""
        return {row["prediction_id"]: row["score"] for row in rows_of_record(self.folder)}

    @property
    def data_digest(self) -> str:
        """What dvc.lock says of the images that all versions were trained with."""
        lock = yaml.safe_load((self.workspace.root / "dvc.lock").read_text())
        (images,) = [
            out for out in lock["stages"]["ingest"]["outs"] if out["path"] == "data/images"
        ]
        return str(images["md5"])

    def of_version(self, version: str) -> list[dict[str, Any]]:
        return [one for one in self.predictions if one["model_version"] == version]

    def of_trained_patch(self, version: str) -> dict[str, Any]:
        """Return the prediction for a patch that the versions were trained with."""
        return next(one for one in self.of_version(version) if one["file"] == "trained.jpg")

    def told(self, *arguments: object) -> Any:
        """Return what a command prints as JSON."""
        done = self.workspace.cracks(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def require_same_scores(self, service: Service, version: str) -> None:
        """Ask again for the images that a version was asked about, and compare."""
        earlier = self.of_version(version)
        assert len({one["score"] for one in earlier}) == len(earlier) == 3
        for before in earlier:
            (now,) = service.predict(image=self.images[before["prediction_id"]])
            for name in ("score", "threshold", "novelty"):
                assert now[name] == pytest.approx(before[name], abs=SAME_SCORE), name
            for name in ("label", "novel", "model_version", "run_id"):
                assert now[name] == before[name], name


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> OlderState:
    place = tmp_path_factory.mktemp("older")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    workspace = Workspace(clone_working_tree(tmp_path_factory.mktemp("workspace")), {})
    # How fast a busy machine answers does not matter here.
    workspace.configure("promote.max_latency_ms=60000", "promote.service_timeout=120")
    shutil.copytree(place / "workspace", workspace.root, dirs_exist_ok=True)
    # The commit alone, without its files: the history of a checkout may be cut off.
    commit = workspace.git("hash-object", "-w", "-t", "commit", str(place / "commit")).strip()
    restored = workspace.python(
        "infra.backup", "restore", str(place / "backup"), "--workspace", str(workspace.root)
    )
    assert restored.returncode == 0, restored.stdout + restored.stderr
    content = json.loads((place / "answers.json").read_text())
    rows = rows_of_record(workspace.root / "service")
    images = {row["prediction_id"]: row["image"] for row in rows if row["image"]}
    return OlderState(workspace, commit, content["key"], content["answers"], images)


def rows_of_record(service: Path) -> list[dict[str, Any]]:
    """Return the rows of the record in a service folder, read without the project's code."""
    files = sorted((service / "answers").rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def service(older: OlderState, start_for_module: StartProcess) -> Iterator[Service]:
    """Yield a service for those who have a key, the one that the earlier release made."""
    headers = {"X-API-Key": older.key}
    with serving(
        start_for_module, older.workspace.root, older.folder, "--host", "127.0.0.1", headers=headers
    ) as running:
        running.wait_for_version(CHAMPION)
        yield running


# --- the service ----------------------------------------------------------------------------------


@pytest.mark.kernels
def test_the_champion_is_served_with_the_scores_and_to_the_keys_of_before(
    older: OlderState, service: Service
) -> None:
    said = service.client.get("/model").raise_for_status().json()
    assert (said["model_name"], said["model_version"]) == (MODEL, CHAMPION)
    assert said["bundle_digest"].startswith(older.predictions[-1]["prediction_id"].split("-")[1])
    assert said["lineage"]["source"] == "sample"
    assert service.client.get("/ready").json()["problem"] is None
    older.require_same_scores(service, CHAMPION)
    wrong = {"X-API-Key": f"{older.key[:-1]}_"}
    assert service.client.get("/model", headers=wrong).status_code == 401


def test_the_overview_tells_what_was_before(service: Service) -> None:
    told = service.client.get("/pipeline/overview").raise_for_status().json()
    assert told["problems"] == []
    assert (told["champion"]["version"], told["answering"]) == (CHAMPION, CHAMPION)
    first = [(one["kind"], one["version"], one["who"]) for one in told["history"][-2:]]
    assert first == [("promote", CHAMPION, "ann"), ("promote", FIRST, "ann")]
    assert [one["version"] for one in told["runs"][-3:]] == [WAITING, CHAMPION, FIRST]
    assert told["live"]["labelled"] == 2
    assert told["live"]["accuracy"]["rate"] == 0.5


def test_the_record_goes_on(older: OlderState, service: Service) -> None:
    (new,) = service.predict(image=older.images[older.predictions[0]["prediction_id"]])
    service.process.wait_until(
        lambda: new["prediction_id"] in older.recorded, "the prediction in the record"
    )
    assert (
        older.recorded.items()
        >= {one["prediction_id"]: one["score"] for one in [*older.predictions, new]}.items()
    )
    newest = service.client.get("/answers?limit=500").raise_for_status().json()["answers"]
    assert {one["prediction_id"]: one["score"] for one in newest} == older.recorded


def test_feedback_is_taken_for_a_prediction_of_before(older: OlderState, service: Service) -> None:
    asked = older.of_trained_patch(FIRST)
    label = {"prediction_id": asked["prediction_id"], "label": "no crack"}
    said = service.client.post("/feedback", json={"feedback": [label]}).raise_for_status().json()
    assert said["feedback"][0]["status"] == "recorded"
    live = older.told("feedback")
    assert (live["labelled"], live["model_versions"]) == (3, [FIRST, CHAMPION])
    # Of the two labels that were given before, one agreed.
    assert live["by_version"][CHAMPION]["rate"] == 0.5


# --- the registry ---------------------------------------------------------------------------------


def test_versions_aliases_and_ledger_agree_with_the_service(older: OlderState) -> None:
    audited = older.told("models", "--verify")
    assert (audited["champion"], audited["problems"]) == (CHAMPION, [])
    versions = older.told("models")["versions"]
    assert [one["version"] for one in versions] == [WAITING, CHAMPION, FIRST]
    assert [one["champion"] for one in versions] == [False, True, False]
    assert [one["verdict"] for one in versions] == ["undecided", "undecided", "first"]
    assert all(one["test_accuracy"] > 0 for one in versions)


def test_rollback_and_promotion_reach_versions_of_before(
    older: OlderState, service: Service
) -> None:
    back = older.told("rollback", "--to", FIRST, "--why", "an older one is wanted")
    assert (back["version"], back["previous"], len(back["processes"])) == (FIRST, CHAMPION, 1)
    older.require_same_scores(service, FIRST)
    again = older.told("promote", CHAMPION, "--why", "the newer one is wanted")
    assert (again["version"], again["previous"], len(again["processes"])) == (CHAMPION, FIRST, 1)
    older.require_same_scores(service, CHAMPION)
    history = older.told("models", "--history")
    changes = [(one["kind"], one["from_version"], one["to_version"]) for one in history[::-1]]
    assert changes[:2] == [("promote", None, FIRST), ("promote", FIRST, CHAMPION)]
    assert changes[-2:] == [("rollback", CHAMPION, FIRST), ("promote", FIRST, CHAMPION)]
    assert [one["number"] for one in history[::-1]] == list(range(1, len(changes) + 1))
    assert {one["git_commit"] for one in history} == {older.commit}
    assert older.told("models", "--verify")["problems"] == []


def test_a_version_that_waits_can_be_approved(older: OlderState, service: Service) -> None:
    # Its Keras model is loaded and compared, as with every version that was never promoted.
    approved = older.told("promote", WAITING, "--why", "looked at every mistake")
    assert (approved["version"], approved["previous"]) == (WAITING, CHAMPION)
    service.wait_for_version(WAITING)
    back = older.told("rollback", "--why", "it misses cracks")
    assert (back["version"], back["previous"]) == (CHAMPION, WAITING)


# --- lineage --------------------------------------------------------------------------------------


def test_a_prediction_of_before_leads_to_its_data(older: OlderState) -> None:
    asked = older.of_trained_patch(CHAMPION)
    found = older.told("trace", asked["prediction_id"])
    assert found["broken"] == []
    values = {one["link"]: one["value"] for one in found["chain"]}
    assert (values["version"], values["run"]) == (CHAMPION, asked["run_id"])
    assert values["commit"] == older.commit
    assert values["bundle"].startswith(asked["prediction_id"].split("-")[1])
    assert values["data"] == older.data_digest
    assert found["patch"]["split"] == "train"
    assert values["image"] == found["patch"]["id"]
    said = found["recorded"]
    assert {name: said[name] for name in ("label", "score", "threshold", "novelty")} == {
        name: asked[name] for name in ("label", "score", "threshold", "novelty")
    }


def test_an_image_leads_to_the_versions_of_before(older: OlderState, tmp_path: Path) -> None:
    file = tmp_path / "patch.jpg"
    file.write_bytes(older.images[older.of_trained_patch(CHAMPION)["prediction_id"]])
    uses = older.told("trace", file)["versions"]
    assert [(one["version"], one["split"]) for one in uses] == [
        (WAITING, "train"),
        (CHAMPION, "train"),
        (FIRST, "train"),
    ]


# --- monitoring and stages ------------------------------------------------------------------------


def test_the_history_of_monitoring_is_read(older: OlderState) -> None:
    (window,) = read_windows(place_of_monitoring(older.folder), 48)
    assert (window.judged, window.model_version) == (True, CHAMPION)
    assert (window.answers, window.requests, window.fired) == (18, 18, ())
    assert {signal.name for signal in window.signals} >= {"embedding", "scores", "novelty"}


def test_a_dvc_lock_of_before_is_out_of_date_and_no_error(older: OlderState) -> None:
    done = older.workspace.dvc("status", "--json")
    assert done.returncode == 0, done.stderr
    assert {"ingest", "train", "export"} <= set(json.loads(done.stdout))
