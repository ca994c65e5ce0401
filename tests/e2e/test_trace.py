"""Lineage: a served answer leads back to its training data, and a version comes back whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import TOOLS, RunningProcess, StartProcess

from cracks.dataset.shards import contents_of, rows_of
from cracks.images.synthetic_concrete import draw_sample
from cracks.system.hashing import digest_of_bytes
from cracks.versioning.dvc_stages import changes_since
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table
from tests.e2e.conftest import LITTLE_EVALUATION, Workspace

pytestmark = pytest.mark.e2e

SMALL = [
    "ingest.source=sample",
    "ingest.sample.patches=200",
    "ingest.shard_rows=100",
    "featurize.image_size=32",
    "train.epochs=1",
    *LITTLE_EVALUATION,
    "register.limits={}",  # how good it is does not matter here
]


@dataclass(frozen=True)
class Site:
    """A workspace with a champion, and one of its training patches that was asked about."""

    workspace: Workspace
    run_id: str
    patch: dict[str, Any]  # a row of the manifest
    content: bytes  # the patch's file
    answer: dict[str, Any]  # of the service

    def trace(self, what: object) -> dict[str, Any]:
        done = self.workspace.cracks("trace", str(what), "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def kept(self, name: str) -> Path:
        """Return where a file lies that the run keeps."""
        (found,) = self.workspace.root.glob(f"mlruns/artifacts/{self.run_id}/artifacts/{name}")
        return found


@pytest.fixture(scope="module")
def site(make_workspace: Callable[[], Workspace], start_for_module: StartProcess) -> Site:
    workspace = make_workspace()
    result = workspace.trained(*SMALL)
    assert result["promoted"], result
    paths = Paths(workspace.root)
    splits = read_table(paths.splits).to_pylist()
    chosen = next(row["id"] for row in splits if row["split"] == "train")
    manifest = read_table(paths.manifest)
    patch = next(row for row in manifest.to_pylist() if row["id"] == chosen)
    (content,) = contents_of(rows_of([chosen], manifest), paths.images)
    with serving(start_for_module, workspace) as client:
        response = client.post("/predict", files=[("files", ("asked.jpg", content))])
    return Site(workspace, result["run_id"], patch, content, response.json()["predictions"][0])


@contextmanager
def serving(start: StartProcess, workspace: Workspace) -> Iterator[httpx.Client]:
    command = [TOOLS / "cracks", "-C", workspace.root, "serve", "--open", "--port", "0", "--json"]
    process = start(command, name="cracks serve")
    url = json.loads(process.wait_until(lambda: process.stdout, "the address"))["url"]
    with httpx.Client(base_url=url, timeout=20) as client:
        process.wait_until(lambda: client.get("/ready").is_success, "the champion")
        yield client
    process.end()


@contextmanager
def replaced(file: Path, content: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the refusal of a command that failed as it should."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


# --- back to the data -----------------------------------------------------------------------------


def test_a_served_answer_leads_to_the_patch_that_was_trained_on(site: Site) -> None:
    found = site.trace(site.answer["prediction_id"])
    assert found["broken"] == []
    assert [one["link"] for one in found["chain"]] == [
        "answer",
        "version",
        "bundle",
        "run",
        "commit",
        "dvc.lock",
        "data",
        "patches",
        "image",
    ]
    values = {one["link"]: one["value"] for one in found["chain"]}
    assert (values["version"], values["run"]) == ("1", site.run_id)
    assert values["commit"] == site.workspace.git("rev-parse", "HEAD").strip()
    assert found["patch"] == {
        "id": site.patch["id"],
        "label": site.patch["label"],
        "split": "train",
        "group": found["patch"]["group"],
        "files": [f"{site.patch['path']} of {site.patch['source']}"],
    }


def test_the_record_of_answers_tells_what_was_answered(site: Site) -> None:
    recorded = site.trace(site.answer["prediction_id"])["recorded"]
    assert recorded["score"] == site.answer["score"]
    assert recorded["label"] == site.answer["label"]


def test_the_chain_is_told_link_by_link(site: Site) -> None:
    done = site.workspace.cracks("trace", site.answer["prediction_id"])
    assert done.returncode == 0, done.stderr
    links = [line for line in done.stdout.splitlines() if not line.startswith("      ")]
    assert [line.split()[-2] for line in links] == [
        "answer",
        "version",
        "bundle",
        "run",
        "commit",
        "dvc.lock",
        "data",
        "patches",
        "image",
    ]
    assert f"train, {site.patch['label']}" in done.stdout


def test_an_answer_for_a_new_image_says_that_nothing_was_trained_on_it(
    site: Site, tmp_path: Path
) -> None:
    new = tmp_path / "new.jpg"
    new.write_bytes(next(draw_sample(2, seed=77))[1])
    done = site.workspace.cracks("predict", new, "--json")
    (answer,) = json.loads(done.stdout)
    found = site.trace(answer["prediction_id"])
    assert found["broken"] == []
    assert found["patch"] is None
    assert "neither trained, validated nor tested" in found["chain"][-1]["says"]


def test_an_image_leads_to_the_versions_that_had_it(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "patch.jpg"
    file.write_bytes(site.content)
    found = site.trace(file)
    assert found["image"] == site.patch["id"]
    ((version, split),) = [(one["version"], one["split"]) for one in found["versions"]]
    assert (version, split) == ("1", "train")


# --- what is unknown or broken --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("v9-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z", "has no version 9"),
        ("nowhere.jpg", "is nothing that can be traced"),
    ],
)
def test_what_is_unknown_is_told_in_one_line(site: Site, what: str, reason: str) -> None:
    assert reason in one_line(site.workspace.cracks("trace", what))


def test_an_image_that_no_version_had_is_told_in_one_line(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "unknown.jpg"
    file.write_bytes(site.content + b"\0")
    said = one_line(site.workspace.cracks("trace", file))
    assert f"{file} (SHA-256 {digest_of_bytes(site.content + bytes(1))[:12]}…) is unknown" in said


def test_wrong_usage_of_trace_and_restore_is_exit_code_2(site: Site) -> None:
    assert site.workspace.cracks("trace").returncode == 2
    assert site.workspace.cracks("restore", "1").returncode == 2


def test_one_byte_changed_of_what_the_run_keeps_is_named(site: Site) -> None:
    file = site.kept("lineage/patches.parquet")
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    with replaced(file, bytes(changed)):
        done = site.workspace.cracks("trace", "1", "--json")
    assert "The chain is broken at patches: " in one_line(done)
    broken = [one["link"] for one in json.loads(done.stdout)["chain"] if one["broken"]]
    assert broken == ["patches"]


def test_a_prediction_of_another_bundle_is_named(site: Site) -> None:
    other = re.sub(r"^v1-.{12}", f"v1-{'0' * 12}", site.answer["prediction_id"])
    assert "the prediction is of bundle 000000000000…" in one_line(
        site.workspace.cracks("trace", other)
    )


def test_a_run_keeps_no_pickle(site: Site) -> None:
    kept = [file for file in site.workspace.root.glob("mlruns/**/*") if file.is_file()]
    assert len(kept) > 20
    assert [file for file in kept if re.search(r"pkl|pickle|joblib", file.name)] == []


# --- a version comes back -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restored(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Later work must not matter: other parameters, and results of other data.
    site.workspace.configure("ingest.sample.patches=210")
    assert site.workspace.dvc("repro", "--single-item", "ingest").returncode == 0
    folder = tmp_path_factory.mktemp("restored") / "version-1"
    done = site.workspace.cracks("restore", "1", folder, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["equal"], said["differences"], said["run_id"]) == (True, [], site.run_id)
    assert said["compared"] > 50
    return folder


def test_a_restored_version_has_the_numbers_that_were_recorded(site: Site, restored: Path) -> None:
    recorded = json.loads(site.kept("evaluate.json").read_text())
    assert json.loads((restored / "reports/evaluate.json").read_text()) == recorded


def test_a_restored_version_is_a_workspace_of_that_time(site: Site, restored: Path) -> None:
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        assert (restored / name).read_bytes() == site.kept(name).read_bytes()
    clone = Workspace(restored, site.workspace.variables)
    assert clone.git("rev-parse", "HEAD") == site.workspace.git("rev-parse", "HEAD")
    assert len(read_table(Paths(restored).manifest)) == 200
    assert changes_since(Paths(restored)) == []


def test_a_folder_that_is_in_use_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert "is not empty" in one_line(site.workspace.cracks("restore", "v1", tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_ctrl_c_leaves_nothing_of_a_restored_version(site: Site, tmp_path: Path) -> None:
    process = RunningProcess(
        [TOOLS / "cracks", "-C", site.workspace.root, "restore", "1", tmp_path / "new"],
        tmp_path / "logs",
        variables=site.workspace.variables,
    )
    try:
        process.wait_until(lambda: "Evaluating again" in process.stderr, "the evaluation")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.end()
    assert "Traceback" not in process.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["logs"]
