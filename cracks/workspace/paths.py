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


@dataclass(frozen=True)
class Paths:
    """The places of one workspace, which is a checkout of this project."""

    root: Path

    @property
    def params(self) -> Path:
        """Every number that changes the science."""
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """The graph of stages."""
        return self.root / "dvc.yaml"

    @property
    def pipeline_lock(self) -> Path:
        """What DVC recorded of the last run of each stage."""
        return self.root / "dvc.lock"

    @property
    def raw(self) -> Path:
        """Folder of downloaded archives, as they were published."""
        return self.root / "data/raw"

    @property
    def mirror(self) -> Path:
        """Folder of local mirrors of S3 prefixes; the bucket itself keeps them."""
        return self.root / "data/mirror"

    @property
    def images(self) -> Path:
        """Folder of Parquet shards with the original JPEG bytes."""
        return self.root / "data/images"

    @property
    def manifest(self) -> Path:
        """One row a patch."""
        return self.root / "data/manifest.parquet"

    @property
    def quarantine(self) -> Path:
        """The files that could not be used, each with its reason."""
        return self.root / "reports/quarantine.csv"

    @property
    def relabels(self) -> Path:
        """The stored photographs that came with another label."""
        return self.root / "reports/relabels.csv"

    @property
    def data_card(self) -> Path:
        """Where the data comes from, under which licence, and what is in it."""
        return self.root / "reports/data_card.md"

    @property
    def profile(self) -> Path:
        """What the accepted data set looks like, to measure the drift of the next."""
        return self.root / "reports/profile.json"

    @property
    def splits(self) -> Path:
        """Which split each distinct patch belongs to."""
        return self.root / "data/splits.parquet"

    @property
    def features(self) -> Path:
        """Folder of arrays: the input of the trainable part, one file a shard."""
        return self.root / "data/features"

    @property
    def changed_features(self) -> Path:
        """What the frozen half gave for patches changed on purpose, so that it is asked once."""
        return self.root / "data/changed_features.npz"

    @property
    def scores(self) -> Path:
        """The score of every patch of validation and test."""
        return self.root / "data/scores.parquet"

    @property
    def slices(self) -> Path:
        """The metrics of each slice of test."""
        return self.root / "reports/slices.csv"

    @property
    def behaviour(self) -> Path:
        """The predictions for patches that were changed on purpose."""
        return self.root / "reports/behaviour.csv"

    @property
    def label_errors(self) -> Path:
        """The patches whose label is probably wrong, most suspicious first."""
        return self.root / "reports/label_errors.csv"

    @property
    def featurizer(self) -> Path:
        """Folder of the half of the classifier that is computed once."""
        return self.root / "models/featurizer"

    @property
    def trainable(self) -> Path:
        """Folder of the half of the classifier that is trained."""
        return self.root / "models/trainable"

    @property
    def checkpoints(self) -> Path:
        """Folder of what an unfinished training has learned; gone when it is finished."""
        return self.root / "models/.checkpoints"

    @property
    def novelty(self) -> Path:
        """What photographs like the training data look like."""
        return self.root / "models/novelty.npz"

    @property
    def neighbours(self) -> Path:
        """Training patches, to show what a predicted photograph is nearest to."""
        return self.root / "models/neighbours.parquet"

    @property
    def classifier(self) -> Path:
        """The Keras model from raw pixels to score."""
        return self.root / "models/classifier.keras"

    @property
    def keras_scores(self) -> Path:
        """The scores of Keras for some patches of test, to compare other runtimes with."""
        return self.root / "models/keras_scores.parquet"

    @property
    def keras_features(self) -> Path:
        """What the frozen half gave for these patches in Keras, so that it is asked once."""
        return self.root / "data/keras_features.npz"

    @property
    def history(self) -> Path:
        """Losses and accuracies per epoch."""
        return self.root / "models/history.csv"

    @property
    def summary(self) -> Path:
        """The layers of the model as text."""
        return self.root / "models/summary.txt"

    @property
    def bundle(self) -> Path:
        """What serving loads."""
        return self.root / "models/bundle"

    @property
    def training_logs(self) -> Path:
        """Folder of TensorBoard logs."""
        return self.root / "logs/train"

    @property
    def data_docs(self) -> Path:
        """The browsable result of the validation."""
        return self.root / "reports/data_docs"

    @property
    def classification_report(self) -> Path:
        """Precision, recall and F1 per label as a text table."""
        return self.root / "reports/classification_report.txt"

    @property
    def curves(self) -> Path:
        """Folder of the curves as tables, for `dvc plots`."""
        return self.root / "reports/curves"

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

    @property
    def local_tracking(self) -> Path:
        """Folder of the local MLflow database and artifacts, used without MLFLOW_TRACKING_URI."""
        return self.root / "mlruns"


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
