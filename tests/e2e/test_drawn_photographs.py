"""The whole path on drawn photographs: made by `dvc repro`, promoted, served, traced, restored."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import StartProcess

from cracks.dataset.labels import SPLITS
from cracks.dataset.shards import contents_of, rows_of
from cracks.images.synthetic_concrete import origins_of_sample
from cracks.versioning.dvc_stages import changes_since
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table
from tests.e2e.conftest import LITTLE_EVALUATION, Workspace
from tests.integration.services import serving

pytestmark = pytest.mark.kernels

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
    """A workspace with a champion, and what it predicted for one of its training patches."""

    workspace: Workspace
    run_id: str
    patch: dict[str, Any]  # a row of the manifest
    prediction: dict[str, Any]  # of the service

    def kept(self, name: str) -> Path:
        """Return where a file lies that the run keeps."""
        (found,) = self.workspace.root.glob(f"mlruns/artifacts/{self.run_id}/artifacts/{name}")
        return found


@pytest.fixture(scope="module")
def featurized(make_workspace: Callable[[], Workspace]) -> Workspace:
    workspace = make_workspace()
    workspace.configure(*SMALL)
    workspace.reproduce("featurize")
    return workspace


@pytest.fixture(scope="module")
def reproduced(featurized: Workspace) -> Workspace:
    featurized.reproduce()
    return featurized


@pytest.fixture(scope="module")
def site(reproduced: Workspace, start_for_module: StartProcess) -> Site:
    workspace = reproduced
    result = workspace.trained()
    assert result["promoted"], result
    assert set(result["stages"].values()) == {"up to date"}
    paths = Paths(workspace.root)
    splits = read_table(paths.splits).to_pylist()
    chosen = next(row["id"] for row in splits if row["split"] == "train")
    manifest = read_table(paths.manifest)
    patch = next(row for row in manifest.to_pylist() if row["id"] == chosen)
    (content,) = contents_of(rows_of([chosen], manifest), paths.images)
    with serving(start_for_module, workspace.root, paths.service) as service:
        service.wait_for_version("1")
        (prediction,) = service.predict(patch=content)
    service.process.end()  # it writes what is not in the record yet
    return Site(workspace, result["run_id"], patch, prediction)


def test_the_sites_are_listed_with_their_photographs_and_splits(featurized: Workspace) -> None:
    done = featurized.cracks("data", "--json")
    assert done.returncode == 0, done.stderr
    sites = {site["site"]: site for site in json.loads(done.stdout)["sites"]}
    origins = origins_of_sample(200)
    assert Counter({name: site["patches"] for name, site in sites.items()}) == Counter(
        origin.site for origin in origins
    )
    for name, site in sites.items():
        photos = {origin.photo for origin in origins if origin.site == name}
        assert site["photographs"] == len(photos)
        assert (site["cracks"], site["known by"]) == (
            site["patches"] / 2,
            f"table {site['patches']}",
        )
        assert site["train"] + site["validation"] + site["test"] == site["patches"]
    table = featurized.cracks("data").stdout
    assert "34 photographs are known, of 100.0% of the patches." in table


def test_no_photograph_as_it_was_drawn_is_in_two_splits(featurized: Workspace) -> None:
    paths = Paths(featurized.root)
    split_of = {row["id"]: row["split"] for row in read_table(paths.splits).to_pylist()}
    id_of = {row["path"]: row["id"] for row in read_table(paths.manifest).to_pylist()}
    sides: dict[str, set[str]] = defaultdict(set)
    for origin in origins_of_sample(200):
        sides[origin.photo].add(split_of[id_of[origin.name]])
    assert {len(splits) for splits in sides.values()} == {1}
    assert set().union(*sides.values()) == set(SPLITS)


def test_a_served_prediction_leads_to_the_patch_that_was_trained_on(site: Site) -> None:
    done = site.workspace.cracks("trace", site.prediction["prediction_id"], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == []
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
    recorded = found["recorded"]
    assert (recorded["score"], recorded["label"]) == (
        site.prediction["score"],
        site.prediction["label"],
    )


def test_a_broken_chain_is_told_link_by_link_and_is_exit_code_1(site: Site) -> None:
    other = re.sub(r"^v1-.{12}", f"v1-{'0' * 12}", site.prediction["prediction_id"])
    done = site.workspace.cracks("trace", other)
    broken = "the prediction is of bundle 000000000000…"
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (refusal,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"The chain is broken at bundle: {broken}" in refusal
    assert f"BROKEN: {broken}" in done.stdout
    links = [line for line in done.stdout.splitlines() if not line.startswith("      ")]
    assert links[0].split() == ["answer", other]
    assert links[-1].split() == ["└►", "image", site.patch["id"]]
    assert f"train, {site.patch['label']}" in done.stdout


@pytest.mark.slow
def test_a_restored_version_is_a_workspace_of_that_time_with_its_numbers(
    site: Site, tmp_path: Path
) -> None:
    # Later work must not matter: other parameters, and results of other data.
    site.workspace.configure("ingest.sample.patches=210")
    assert site.workspace.dvc("repro", "--single-item", "ingest").returncode == 0
    folder = tmp_path / "version-1"
    done = site.workspace.cracks("restore", "1", folder, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["equal"], said["differences"], said["run_id"]) == (True, [], site.run_id)
    assert said["compared"] > 50
    recorded = json.loads(site.kept("evaluate.json").read_text())
    assert json.loads((folder / "reports/evaluate.json").read_text()) == recorded
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        assert (folder / name).read_bytes() == site.kept(name).read_bytes()
    clone = Workspace(folder, site.workspace.variables)
    assert clone.git("rev-parse", "HEAD") == site.workspace.git("rev-parse", "HEAD")
    assert len(read_table(Paths(folder).manifest)) == 200
    assert changes_since(Paths(folder)) == []
