"""What the model is given: refused in one line where it cannot be, and never computed twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cracks.workspace.params_file import set_params
from tests.e2e.conftest import LITTLE_EVALUATION, SHARED, Workspace

pytestmark = pytest.mark.e2e

WEIGHTS = SHARED / "weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"
OTHER_WEIGHTS = SHARED / "weights/mobilenet_2_5_224_tf_no_top.h5"

SMALL = [
    "ingest.source=sample",
    "ingest.sample.patches=200",
    "ingest.shard_rows=100",
    "featurize.image_size=32",
    "train.epochs=1",
    *LITTLE_EVALUATION,
]


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[[], Workspace]) -> Workspace:
    """A workspace in which everything was made once, so that there is something to lose."""
    made = make_workspace()
    set_params(made.root / "params.yaml", SMALL)
    done = made.dvc("repro")
    assert done.returncode == 0, done.stderr
    return made


def _backbone(weights: Path) -> list[str]:
    return ["featurize.architecture=mobilenetv2", f"featurize.weights={weights}"]


def _refused(workspace: Workspace, *assignments: str) -> str:
    """Return the one line of a training that is refused, after which nothing half-written lies."""
    before = workspace.files()
    done = workspace.train(*assignments)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    after = workspace.files()
    (workspace.root / "params.yaml").write_bytes(before["params.yaml"])
    written = {name for name in after if after[name] != before.get(name)}
    # DVC takes away what a stage made before it runs it; the cache has it still.
    half = {name for name in written if name.startswith(("data/", "models/", "reports/"))}
    assert not half - {"reports/featurize.json"}
    return errors[0]


def test_an_image_size_of_nothing_is_refused(workspace: Workspace) -> None:
    assert "featurize.image_size" in _refused(workspace, "featurize.image_size=0")


def test_a_gpu_that_is_not_there_is_refused(workspace: Workspace) -> None:
    assert "finds none on this machine" in _refused(workspace, "train.device=gpu")


def test_a_layer_that_is_not_there_is_refused(workspace: Workspace) -> None:
    if not WEIGHTS.is_file():
        pytest.skip(f"{WEIGHTS} is absent")
    told = _refused(
        workspace, *_backbone(WEIGHTS), "train.mode=finetune", "train.finetune.from_layer=block_99"
    )
    assert "has no layer 'block_99'" in told


def test_weights_of_another_architecture_are_refused(workspace: Workspace) -> None:
    if not OTHER_WEIGHTS.is_file():
        pytest.skip(f"{OTHER_WEIGHTS} is absent")
    assert "cannot be loaded into mobilenetv2" in _refused(workspace, *_backbone(OTHER_WEIGHTS))


def test_features_that_are_no_numbers_are_refused_by_the_training(workspace: Workspace) -> None:
    assert workspace.dvc("checkout").returncode == 0
    for file in (workspace.root / "data/features").glob("*.npy"):
        np.save(file, np.full(np.load(file).shape, np.nan, np.float32))
    damaged = workspace.dvc("repro", "--single-item", "--force", "train")
    assert damaged.returncode != 0
    assert "not finite" in damaged.stderr
    assert workspace.dvc("checkout", "--force").returncode == 0


def test_new_photographs_cost_only_their_own_features(workspace: Workspace) -> None:
    folder = workspace.root / "data/features"
    known = {file.name: file.read_bytes() for file in folder.glob("*.npy")}
    times = {name: (folder / name).stat().st_mtime_ns for name in known}
    assert len(known) == 2
    set_params(workspace.root / "params.yaml", ["ingest.sample.patches=300"])
    done = workspace.dvc("repro", "featurize")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 shards known" in done.stderr
    assert "100 of 100" in done.stderr
    now = {file.name: file.read_bytes() for file in folder.glob("*.npy")}
    assert len(now) == 3
    for name, content in known.items():
        assert now[name] == content
        assert (folder / name).stat().st_mtime_ns == times[name]
