"""The whole path on real photographs: trained, judged, promoted, refused, and found unchanged."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from e2e.conftest import LITTLE_EVALUATION, Workspace, shared_file

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WEIGHTS = "weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"


@pytest.fixture(scope="module")
def trained(make_workspace: Callable[[], Workspace]) -> Workspace:
    photographs, weights = shared_file("data/metu-2k.zip"), shared_file(WEIGHTS)
    workspace = make_workspace()
    result = workspace.trained(
        f"ingest.source={photographs}",
        "featurize.architecture=mobilenetv2",
        f"featurize.weights={weights}",
        "featurize.image_size=160",
        "train.learning_rate=0.01",
        *LITTLE_EVALUATION,
    )
    assert (result["verdict"], result["version"], result["promoted"]) == ("accepted", "1", True)
    assert set(result["stages"].values()) == {"ran"}
    return workspace


def _tracking(workspace: Workspace) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{workspace.root}/mlruns/mlflow.db")


def test_real_photographs_are_told_apart(trained: Workspace) -> None:
    test = trained.report("evaluate")["test"]
    assert test["accuracy"] >= 0.99
    assert test["recall"] >= 0.98
    assert trained.report("ingest")["patches"] == 2000


def test_after_a_training_dvc_finds_nothing_to_do(trained: Workspace) -> None:
    repro = trained.dvc("repro")
    assert repro.returncode == 0, repro.stderr
    assert "Data and pipelines are up to date." in repro.stdout
    assert "Running stage" not in repro.stdout


def test_the_champion_answers_for_photographs_on_disk(trained: Workspace, tmp_path: Path) -> None:
    images = {}
    with zipfile.ZipFile(shared_file("data/metu-2k.zip")) as archive:
        for label, expected in (("Negative", "no crack"), ("Positive", "crack")):
            name = next(n for n in archive.namelist() if f"{label}/" in n and n.endswith(".jpg"))
            images[tmp_path / f"{label}.jpg"] = expected
            (tmp_path / f"{label}.jpg").write_bytes(archive.read(name))
    done = trained.cracks("predict", *images, "--json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["label"] for answer in answers] == list(images.values())
    assert {answer["model_version"] for answer in answers} == {"1"}


def test_the_run_in_mlflow_says_what_was_trained_on_what(trained: Workspace) -> None:
    client = _tracking(trained)
    version = client.get_model_version_by_alias("concrete-crack-classifier", "champion")
    run = client.get_run(version.run_id)
    assert run.data.params["featurize.architecture"] == "mobilenetv2"
    assert run.data.metrics["test.accuracy"] >= 0.99
    epochs = client.get_metric_history(version.run_id, "epoch.val_loss")
    assert [metric.step for metric in epochs] == list(range(1, len(epochs) + 1))
    assert run.data.tags["git.commit"] == trained.git("rev-parse", "HEAD").strip()
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "concrete-patches"
    assert dataset.dataset.digest.endswith(".dir")
    files = {file.path for file in client.list_artifacts(version.run_id)}
    assert {"dvc.lock", "bundle", "figures", "model_input_example.json"} <= files
    figures = {file.path for file in client.list_artifacts(version.run_id, "figures/evaluate")}
    names = {"confusion", "roc", "precision_recall", "calibration", "mistakes", "label_errors"}
    names |= {"least_certain", "novelty", "slices", "behaviour", "perturbations", "occlusion"}
    assert {f"figures/evaluate/{name}.png" for name in names} == figures


def test_the_registered_model_takes_raw_pixels(trained: Workspace) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{trained.root}/mlruns/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/concrete-crack-classifier@champion")
    client = _tracking(trained)
    version = client.get_model_version_by_alias("concrete-crack-classifier", "champion")
    folder = client.download_artifacts(version.run_id, "model_input_example.json")
    example = json.loads(Path(folder).read_text())["inputs"]
    import numpy as np

    scores = model.predict(np.array(example, np.uint8))
    assert scores.shape == (len(example), 1)
    assert 0 <= scores.min() <= scores.max() <= 1


def test_nothing_new_means_nothing_done(trained: Workspace) -> None:
    result = trained.trained()
    assert set(result["stages"].values()) == {"up to date"}
    assert result["verdict"] == "unchanged"
    assert len(_tracking(trained).search_model_versions("")) == 1


def test_a_worse_model_is_refused_with_its_reason_and_the_champion_stays(
    trained: Workspace,
) -> None:
    better = trained.root.joinpath("params.yaml").read_text()
    result = trained.trained("train.epochs=1", "train.learning_rate=0.000001")
    stages = {stage for stage, outcome in result["stages"].items() if outcome == "ran"}
    assert stages == {"train", "evaluate", "export"}
    assert (result["verdict"], result["promoted"]) == ("refused", False)
    reason = "; ".join(result["reasons"])
    assert "below the champion's" in reason
    client = _tracking(trained)
    assert client.get_run(result["run_id"]).data.tags["verdict.reason"] == reason
    champion = client.get_model_version_by_alias("concrete-crack-classifier", "champion")
    assert str(champion.version) == "1"
    listed = trained.cracks("models")
    assert "Refused challengers" in listed.stdout
    # The earlier parameters bring the earlier files back from DVC's cache; nothing is trained.
    trained.root.joinpath("params.yaml").write_text(better)
    assert trained.trained()["verdict"] == "unchanged"


def test_a_photograph_more_in_the_source_is_noticed(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    from cracks.freshness import outside_input_changed
    from cracks.params import load_params, set_params
    from cracks.paths import Paths

    workspace = make_workspace()
    folder = tmp_path / "photos"
    with zipfile.ZipFile(shared_file("data/metu-2k.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        for name in names[:20] + names[-20:]:
            target = folder / Path(name).parent.name / Path(name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    paths = Paths(workspace.root)
    set_params(paths.params, [f"ingest.source={folder}"])
    assert workspace.dvc("repro", "--single-item", "ingest").returncode == 0
    params = load_params(paths.params)
    assert not outside_input_changed("ingest", params, paths)
    (folder / "Positive" / "new.jpg").write_bytes(io.BytesIO(b"not even an image").getvalue())
    assert outside_input_changed("ingest", params, paths)
