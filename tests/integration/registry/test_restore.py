"""Trace and restore in a small workspace: real git, DVC and MLflow, stages that take no time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from damaged import flip
from processes import CHECKOUT, environment, git

from cracks.errors import StageError, TrackingError, WorkspaceError
from cracks.registry.lineage.chain import patches_table
from cracks.registry.lineage.restore import Difference, restore
from cracks.registry.lineage.trace import Chain, ImageTrace, trace
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.mlflow_store.training_runs import PATCHES_ARTIFACT
from cracks.registry.tags import BUNDLE_TAG, COMMIT_TAG, LOCK_TAG, PATCHES_TAG, checkout_tags
from cracks.system.hashing import digest_of_bytes, digest_of_file
from cracks.versioning.dvc_stages import output_digest, pipeline_digest
from cracks.workspace.paths import Paths
from tests.unit.builders import write_files

if TYPE_CHECKING:
    from mlflow import MlflowClient

PIPELINE = b"""
stages:
  ingest:
    cmd: python stages.py ingest
    deps: [stages.py, photographs.txt]
    outs: [data/images, data/manifest.parquet, data/splits.parquet, data/features]
    metrics:
      - reports/ingest.json: {cache: false}
  train:
    cmd: python stages.py train
    deps: [stages.py, data/images]
    params: [epochs]
    outs: [models/featurizer, models/trainable, models/lost]
  evaluate:
    cmd: python stages.py evaluate
    deps: [metric.py, data/images, models/trainable]
    metrics:
      - reports/evaluate.json: {cache: false}
"""

STAGES = b"""
import json, pathlib, sys
def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
if sys.argv[1] == "ingest":
    text = pathlib.Path("photographs.txt").read_text()
    for path in ("data/images/part-0", "data/features/part-0"):
        write(path, text)
    for path in ("data/manifest.parquet", "data/splits.parquet"):
        write(path, "a table of " + text)
    write("reports/ingest.json", json.dumps({"files": len(text)}))
elif sys.argv[1] == "train":
    epochs = pathlib.Path("params.yaml").read_text()
    for name in ("featurizer", "trainable", "lost"):
        write(f"models/{name}/network", name + epochs)
else:
    import metric
    text = pathlib.Path("data/images/part-0").read_text()
    network = pathlib.Path("models/trainable/network").read_text()
    write("reports/evaluate.json", json.dumps({"test": metric.measure(text, network)}))
"""

METRIC = b"""
def measure(text, network):
    return {"photographs": len(text), "epochs": float(network.split()[-1])}
"""

DVC_FILES = ("config", ".gitignore")
FILES = {
    "dvc.yaml": PIPELINE,
    "stages.py": STAGES,
    "metric.py": METRIC,
    "params.yaml": b"epochs: 1\n",
    "photographs.txt": b"concrete",
    ".gitignore": b"/data\n/models\n/mlruns\n/reports\n__pycache__\n",
}
CONTENT = b"the file of an image"
IDS = ("aa" * 32, digest_of_bytes(CONTENT))


@dataclass(frozen=True)
class Site:
    """A workspace whose first version was trained with parameters that were never committed."""

    paths: Paths
    tracking: Tracking
    run_id: str

    @property
    def client(self) -> MlflowClient:
        return self.tracking.connection.client

    def kept(self, name: str) -> Path:
        return self.paths.local_tracking / "artifacts" / self.run_id / "artifacts" / name


def _dvc_repro(root: Path) -> None:
    command = [sys.executable, "-m", "dvc", "repro"]
    subprocess.run(command, cwd=root, env=environment(), check=True, capture_output=True)


def _make_workspace(root: Path) -> Paths:
    files = {f".dvc/{name}": (CHECKOUT / ".dvc" / name).read_bytes() for name in DVC_FILES}
    write_files(root, FILES | files)
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Begin"]):
        git(root, *arguments)
    return Paths(root)


def _register(paths: Paths, tracking: Tracking, place: Path) -> str:
    """Write what a training leaves in MLflow, but for the model; return the id of the run."""
    client = tracking.connection.client
    tags = {**checkout_tags(paths), LOCK_TAG: pipeline_digest(paths)}
    (place / "bundle").mkdir(parents=True)
    (place / "bundle/bundle.json").write_text("{}")
    tags[BUNDLE_TAG] = digest_of_file(place / "bundle/bundle.json")
    _write_patches(place / PATCHES_ARTIFACT)
    listed = {PATCHES_TAG: digest_of_file(place / PATCHES_ARTIFACT), "mlflow.runName": "small"}
    run = client.create_run(tracking.training.id, tags={**tags, **listed}).info
    for file in (paths.params, paths.pipeline, paths.pipeline_lock):
        client.log_artifact(run.run_id, str(file))
    for stage in ("ingest", "evaluate"):
        client.log_artifact(run.run_id, str(paths.report(stage)))
    client.log_artifacts(run.run_id, str(place))
    for key, value in json.loads(paths.report("evaluate").read_text())["test"].items():
        client.log_metric(run.run_id, f"test.{key}", value)
    client.create_registered_model(tracking.model_name)
    client.create_model_version(
        tracking.model_name, f"{run.artifact_uri}/model", run_id=run.run_id, tags=tags
    )
    return str(run.run_id)


def _write_patches(file: Path) -> None:
    import pyarrow.parquet as pq

    manifest = pa.table(
        {
            "id": list(IDS),
            "label": ["crack", "no crack"],
            "source": ["site.zip"] * 2,
            "path": ["Positive/1.jpg", "Negative/1.jpg"],
        }
    )
    splits = pa.table({"id": list(IDS), "split": ["train", "test"], "group": list(IDS)})
    file.parent.mkdir(parents=True)
    pq.write_table(patches_table(manifest, splits), file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        paths = _make_workspace(tmp_path_factory.mktemp("site") / "workspace")
        paths.params.write_text("epochs: 7\n")  # as `cracks train -S` does
        _dvc_repro(paths.root)
        tracking = Tracking(paths, "small")
        run_id = _register(paths, tracking, tmp_path_factory.mktemp("kept"))
        # Work continues: other photographs, other parameters, and the source of then is gone.
        (paths.root / "photographs.txt").write_text("concrete and more")
        paths.params.write_text("epochs: 9\n")
        _dvc_repro(paths.root)
        yield Site(paths, tracking, run_id)


@pytest.fixture
def site(trained: Site) -> Iterator[Site]:
    """The site, whose version and run are as before when the test is over."""
    folder, version = trained.kept(""), trained.tracking.registry.version("1")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    metrics = trained.tracking.runs.metrics(trained.run_id)
    yield trained
    trained.client.restore_run(trained.run_id)
    trained.tracking.registry.tag("1", version.tags)
    for file, content in before.items():
        file.write_bytes(content)
    for key, value in metrics.items():
        trained.client.log_metric(trained.run_id, key, value)


@contextmanager
def lost(path: Path, elsewhere: Path) -> Iterator[None]:
    """Let a file or folder be gone for a while."""
    aside = path.rename(elsewhere / "lost")
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)  # of its cache dvc makes an empty one
        aside.rename(path)


# --- trace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["1", "v1", "run"])
def test_a_version_is_followed_to_its_data(site: Site, what: str) -> None:
    found = trace(site.run_id if what == "run" else what, site.tracking, site.paths.root)
    assert isinstance(found, Chain)
    assert found.broken == []
    assert {link.name: link.says for link in found.links}["patches"] == (
        "2 files, 2 distinct: 1 train, 1 test"
    )


@pytest.mark.parametrize("what", [IDS[1][:12], "file"])
def test_an_image_is_followed_to_its_versions(site: Site, what: str, tmp_path: Path) -> None:
    if what == "file":
        what = str(tmp_path / "image.jpg")
        Path(what).write_bytes(CONTENT)
    found = trace(what, site.tracking, site.paths.root)
    assert isinstance(found, ImageTrace)
    assert (found.id, [use.split for use in found.uses]) == (IDS[1], ["test"])


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("v9-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z", "has no version 9"),
        ("nowhere.jpg", "is nothing that can be traced"),
        (__file__, rf"{Path(__file__).name} \(SHA-256 .{{12}}…\) is unknown: none of 1 versions"),
    ],
)
def test_what_is_unknown_is_refused(site: Site, what: str, reason: str) -> None:
    with pytest.raises(TrackingError, match=reason):
        trace(what, site.tracking, site.paths.root)


def test_a_list_of_patches_that_was_altered_is_trusted_for_no_image(site: Site) -> None:
    site.kept(PATCHES_ARTIFACT).write_bytes(b"another list")
    with pytest.raises(TrackingError, match="list of patches of version 1 is altered"):
        trace(IDS[1], site.tracking, site.paths.root)


def test_every_link_that_is_broken_is_named_at_once(site: Site) -> None:
    site.kept("dvc.lock").unlink()
    for name in ("bundle/bundle.json", PATCHES_ARTIFACT):
        flip(site.kept(name))
    found = trace("1", site.tracking, site.paths.root)
    assert isinstance(found, Chain)
    assert [reason.partition(":")[0] for reason in found.broken] == [
        "bundle",
        "dvc.lock",
        "patches",
    ]


def test_a_run_that_was_deleted_is_named(site: Site) -> None:
    site.client.delete_run(site.run_id)
    found = trace("1", site.tracking, site.paths.root)
    assert isinstance(found, Chain)
    assert len(found.broken) == 1
    assert f"Run {site.run_id} was deleted" in found.broken[0]


# --- restore --------------------------------------------------------------------------------------


def test_a_version_comes_back_with_parameters_data_and_numbers_of_then(
    site: Site, tmp_path: Path
) -> None:
    done = restore("1", tmp_path / "then", site.tracking, site.paths)
    assert (done.differences, done.compared, done.folder) == ([], 2, tmp_path / "then")
    assert (tmp_path / "then/params.yaml").read_text() == "epochs: 7\n"
    assert (tmp_path / "then/data/images/part-0").read_text() == "concrete"
    assert (tmp_path / "then/dvc.lock").read_bytes() == site.kept("dvc.lock").read_bytes()
    assert any("params.yaml, dvc.yaml and dvc.lock are those of its run" in n for n in done.notes)
    assert not any("not as it was then" in note for note in done.notes)
    assert (site.paths.root / "params.yaml").read_text() == "epochs: 9\n"


def test_an_empty_folder_may_be_there_already(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert restore("1", tmp_path / "empty", site.tracking, site.paths).differences == []
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


def test_other_numbers_are_told_and_the_workspace_stays(site: Site, tmp_path: Path) -> None:
    site.client.log_metric(site.run_id, "test.photographs", 9.0)
    done = restore("1", tmp_path / "then", site.tracking, site.paths)
    assert done.differences == [Difference("test.photographs", 9.0, 8.0)]
    assert (tmp_path / "then/dvc.yaml").is_file()


def test_data_that_nothing_needs_may_be_lost(site: Site, tmp_path: Path) -> None:
    digest = output_digest(Paths(site.kept("")), "train", "models/lost").removesuffix(".dir")
    file = site.paths.root / f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}.dir"
    with lost(file, tmp_path):
        done = restore("1", tmp_path / "then", site.tracking, site.paths)
    assert done.differences == []
    assert "models/lost is lost; nothing here needs it" in done.notes


def test_data_that_is_needed_and_lost_is_named_and_nothing_is_left(
    site: Site, tmp_path: Path
) -> None:
    with (
        lost(site.paths.root / ".dvc/cache", tmp_path),
        pytest.raises(WorkspaceError, match=r"has data/images, .* of version 1"),
    ):
        restore("1", tmp_path / "then", site.tracking, site.paths)
    assert list(tmp_path.iterdir()) == []


def test_code_that_was_never_committed_is_named(site: Site, tmp_path: Path) -> None:
    lock = site.kept("dvc.lock")
    metric = site.paths.root / "metric.py"
    now = hashlib.md5(metric.read_bytes(), usedforsecurity=False).hexdigest()
    lock.write_text(lock.read_text().replace(now, "f" * 32))
    site.tracking.registry.tag("1", {LOCK_TAG: digest_of_file(lock)})
    done = restore("1", tmp_path / "then", site.tracking, site.paths)
    assert "not as it was then: evaluate: metric.py modified" in done.notes


def test_a_dvc_lock_that_was_altered_is_refused(site: Site, tmp_path: Path) -> None:
    site.kept("dvc.lock").write_text(site.kept("dvc.lock").read_text() + "# \n")
    with pytest.raises(TrackingError, match="was altered"):
        restore("1", tmp_path / "then", site.tracking, site.paths)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "error"),
    [
        pytest.param("python nowhere.py", StageError, id="failed"),
        pytest.param('python -c "exit(130)"', KeyboardInterrupt, id="Ctrl-C"),
    ],
)
def test_an_evaluation_that_fails_or_is_interrupted_leaves_nothing(
    site: Site, tmp_path: Path, command: str, error: type[BaseException]
) -> None:
    pipeline = site.kept("dvc.yaml")
    pipeline.write_text(pipeline.read_text().replace("python stages.py evaluate", command))
    with pytest.raises(error):
        restore("1", tmp_path / "then", site.tracking, site.paths)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("commit", ["", "0" * 40])
def test_a_version_without_its_commit_is_refused(site: Site, tmp_path: Path, commit: str) -> None:
    site.tracking.registry.tag("1", {COMMIT_TAG: commit})
    with pytest.raises((TrackingError, WorkspaceError), match=r"version 1|Version 1"):
        restore("1", tmp_path / "then", site.tracking, site.paths)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_in_use_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(WorkspaceError, match="is not empty"):
        restore("1", tmp_path, site.tracking, site.paths)
    with pytest.raises(WorkspaceError, match="is no folder"):
        restore("1", tmp_path / "mine", site.tracking, site.paths)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
