"""Where everything lies in a workspace; dvc.yaml names the same paths, and a test compares them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cracks.errors import WorkspaceError

#: The stages in the order of the graph in dvc.yaml.
STAGES = ("ingest", "split", "validate", "featurize", "train", "evaluate", "export")

#: Variable of the environment; 1 lets the labels of stored photographs change.
ACCEPT_RELABELS = "CRACKS_ACCEPT_RELABELS"


class Place:
    """A file or folder of a workspace, by its path below the root."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, paths: Paths, owner: type[Paths]) -> Path:
        return paths.root / self._path


@dataclass(frozen=True)
class Paths:
    """The places of one workspace, which is a checkout of this project."""

    root: Path

    params = Place("params.yaml")  # every number that changes the science
    pipeline = Place("dvc.yaml")  # the graph of stages
    pipeline_lock = Place("dvc.lock")  # what DVC recorded of the last run of each stage
    raw = Place("data/raw")  # folder of downloaded archives, as they were published
    mirror = Place("data/mirror")  # folder of mirrors of S3 prefixes; the bucket keeps them
    images = Place("data/images")  # folder of Parquet shards with the original JPEG bytes
    manifest = Place("data/manifest.parquet")  # one row a patch
    quarantine = Place("reports/quarantine.csv")  # unusable files, each with its reason
    relabels = Place("reports/relabels.csv")  # stored photographs that came with another label
    data_card = Place("reports/data_card.md")  # origin, licence and content of the data
    profile = Place("reports/profile.json")  # what the accepted data looks like, to measure drift
    accepted = Place("data/accepted.parquet")  # patches of the accepted data, and which were new
    splits = Place("data/splits.parquet")  # which split each distinct patch belongs to
    features = Place("data/features")  # folder of arrays, a file a shard: what is trained on
    changed_features = Place("data/changed_features.npz")  # of patches changed on purpose
    scores = Place("data/scores.parquet")  # the score of every patch of validation and test
    slices = Place("reports/slices.csv")  # the metrics of each slice of test
    sites_left_out = Place("reports/sites_left_out.csv")  # each site as the others teach it
    behaviour = Place("reports/behaviour.csv")  # the predictions for patches changed on purpose
    label_errors = Place("reports/label_errors.csv")  # labels that people should look at again
    label_errors_key = Place("reports/label_errors_key.csv")  # which of them are suspected
    featurizer = Place("models/featurizer")  # folder of the half that is computed once
    trainable = Place("models/trainable")  # folder of the half that is trained
    checkpoints = Place("models/.checkpoints")  # folder of an unfinished training, else absent
    novelty = Place("models/novelty.npz")  # what photographs like the training data look like
    neighbours = Place("models/neighbours.parquet")  # training patches, to show the nearest ones
    classifier = Place("models/classifier.keras")  # the Keras model from raw pixels to score
    keras_scores = Place("models/keras_scores.parquet")  # of some test patches, to compare runtimes
    keras_features = Place("data/keras_features.npz")  # of the same patches, computed once
    history = Place("models/history.csv")  # losses and accuracies per epoch
    summary = Place("models/summary.txt")  # the layers of the model as text
    bundle = Place("models/bundle")  # what serving loads
    training_logs = Place("logs/train")  # folder of TensorBoard logs
    data_docs = Place("reports/data_docs")  # the browsable result of the validation
    classification_report = Place("reports/classification_report.txt")  # precision, recall, F1
    curves = Place("reports/curves")  # folder of the curves as tables, for `dvc plots`
    local_tracking = Place("mlruns")  # MLflow folder without MLFLOW_TRACKING_URI

    def report(self, stage: str) -> Path:
        """Return the place of a stage's report."""
        return self.root / "reports" / f"{stage}.json"

    def resources(self, stage: str) -> Path:
        """Return the place of what a stage took of the machine when it last ran here."""
        return self.root / "logs/resources" / f"{stage}.csv"

    def figures(self, stage: str) -> Path:
        """Return the folder of a stage's figures."""
        return self.root / "reports/figures" / stage

    @property
    def service(self) -> Path:
        """The folder through which promotion hands bundles to serving (CRACKS_SERVICE_DIR)."""
        return Path(os.environ.get("CRACKS_SERVICE_DIR") or self.root / "service").resolve()


def open_workspace(root: Path) -> Paths:
    """Return the paths of the workspace at `root`.

    Raises:
        WorkspaceError: `root` is not a checkout of this project that DVC knows.
    """
    if not root.is_dir():
        raise WorkspaceError(f"There is no folder {root}. Clone the project there first.")
    paths = Paths(root.resolve())
    if not (paths.root / ".dvc").is_dir() or not paths.pipeline.is_file():
        raise WorkspaceError(
            f"{paths.root} is no workspace: it is not a DVC repository with a dvc.yaml. "
            "A workspace is a checkout of this project: `git clone` it, then use `cracks -C DIR`."
        )
    return paths
