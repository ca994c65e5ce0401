"""One run a training: written once, then tagged with its verdict, found again and fetched."""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cracks.errors import TrackingError, TrackingUnavailable
from cracks.inference.bundle.bundle import open_bundle
from cracks.registry.mlflow_store.connection import Connection, shortened
from cracks.registry.mlflow_store.experiments import LARGEST_BATCH, Experiment
from cracks.registry.mlflow_store.keras_flavour import KerasFlavour
from cracks.registry.mlflow_store.records import TrainingRecord
from cracks.registry.tags import ACTION_TAG, BUNDLE_TAG, KERAS_TAG, PATCHES_TAG, REASON_TAG
from cracks.system.hashing import digest_of_file
from cracks.workspace.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa

#: Where a run keeps its bundle, and the tag that finds the run of a bundle.
BUNDLE_ARTIFACT = "bundle"

#: Where a run keeps the list of its patches, and the tag that says the SHA-256 of that file.
PATCHES_ARTIFACT = "lineage/patches.parquet"

#: Refused challengers that are listed.
REFUSED_SHOWN = 100

#: What MLflow's page of system metrics calls them.
SYSTEM_METRICS = {"cpu_percent": "system/cpu_percent", "memory_mb": "system/memory_megabytes"}


class Runs:
    """The runs of trainings."""

    def __init__(self, connection: Connection, experiment: Experiment) -> None:
        """Write into `experiment`."""
        self._connection, self._experiment = connection, experiment
        self._client = connection.client

    def of_bundle(self, digest: str) -> str | None:
        """Return the id of the finished run that trained a bundle, or None."""
        trained = f"tags.`{BUNDLE_TAG}` = '{digest}' and attributes.status = 'FINISHED'"
        run = next(self._experiment.runs(trained), None)
        return str(run.info.run_id) if run else None

    def log(self, record: TrainingRecord) -> str:
        """Write one run and return its id; a run that fails half-way is marked as failed.

        Raises:
            TrackingError: the store refused.
        """
        open_bundle(record.bundle)
        self._end_abandoned(record.tags.get(BUNDLE_TAG, ""))
        with self._connection.explained(), self._connection.current():
            run_id = self._experiment.create_run(record.name, "cracks train", record.tags)
            try:
                self._log_numbers(run_id, record)
                self._log_files(run_id, record)
                self._log_model(run_id, record)
            except BaseException:
                # Where the server is what failed, the next recording of this bundle marks it.
                with contextlib.suppress(Exception):
                    self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id, "FINISHED")
        return run_id

    def _end_abandoned(self, digest: str) -> None:
        """Mark earlier recordings of this bundle as killed that ended without a status.

        One that another process is still writing gets its status from that process at its end.
        """
        begun = f"tags.`{BUNDLE_TAG}` = '{digest}' and attributes.status = 'RUNNING'"
        for run in list(self._experiment.runs(begun)):
            with self._connection.explained():
                self._client.set_terminated(run.info.run_id, "KILLED")

    def _log_numbers(self, run_id: str, record: TrainingRecord) -> None:
        from mlflow.entities import Metric

        self._experiment.log_series(run_id, record.params, record.metrics, record.history)
        now = int(time.time() * 1000)
        used = [Metric(*row) for row in _system_metrics(record.resources, now)]
        for start in range(0, len(used), LARGEST_BATCH):
            self._client.log_batch(run_id, metrics=used[start : start + LARGEST_BATCH])

    def _log_files(self, run_id: str, record: TrainingRecord) -> None:
        for file in record.files:
            self._client.log_artifact(run_id, str(file))
        for figure in record.figures:
            self._client.log_artifact(run_id, str(figure), f"figures/{figure.parent.name}")
        self._client.log_artifacts(run_id, str(record.bundle), BUNDLE_ARTIFACT)
        if record.patches is not None:
            self._log_patches(run_id, record.patches)

    def _log_patches(self, run_id: str, patches: pa.Table) -> None:
        import pyarrow.parquet as pq

        folder, name = PATCHES_ARTIFACT.split("/")
        with tempfile.TemporaryDirectory(prefix="cracks-") as place:
            file = Path(place) / name
            # Hexadecimal digits take half the space so.
            pq.write_table(patches, file, compression="zstd")
            self._client.log_artifact(run_id, str(file), folder)
            self._client.set_tag(run_id, PATCHES_TAG, digest_of_file(file))

    def _log_model(self, run_id: str, record: TrainingRecord) -> None:
        import mlflow
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        signature = ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, *record.example.shape[1:]), "image")]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, 1), "score")]),
        )
        with mlflow.start_run(run_id=run_id):
            # Not `mlflow.keras.log_model`: with an input example it fails in MLflow 3.17.
            Model.log(
                None,
                KerasFlavour,
                name="model",
                file=record.model,
                signature=signature,
                input_example=record.example,
                pip_requirements=_requirements(),
                validate_serving_input=False,  # a test does; here it would load the model again
            )
            self._client.set_tag(run_id, KERAS_TAG, digest_of_file(record.model))
            _log_dataset(record)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        with self._connection.explained():
            for key, value in shortened(tags).items():
                self._client.set_tag(run_id, key, value)

    def tags(self, run_id: str) -> dict[str, str]:
        """Return the tags of a run."""
        with self._connection.explained():
            return dict(self._client.get_run(run_id).data.tags)

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run."""
        with self._connection.explained():
            return dict(self._client.get_run(run_id).data.metrics)

    def require(self, run_id: str) -> None:
        """Refuse a run that was deleted.

        Raises:
            TrackingError: it was, or there never was one.
        """
        with self._connection.explained():
            stage = self._client.get_run(run_id).info.lifecycle_stage
        if stage == "deleted":
            raise TrackingError(
                f"Run {run_id} was deleted in MLflow. Restore it (`mlflow runs restore --run-id "
                f"{run_id}`), or choose another version: `cracks models` lists them."
            )

    def refused(self) -> list[dict[str, Any]]:
        """Return run id, name, reason and metrics of the refused challengers, the newest first."""
        refused = self._experiment.runs(f"tags.`{ACTION_TAG}` = 'refuse'")
        return [
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "reason": run.data.tags.get(REASON_TAG, ""),
                "metrics": dict(run.data.metrics),
            }
            for run in islice(refused, REFUSED_SHOWN)
        ]

    def patch_ids(self, run_id: str) -> pa.ChunkedArray:
        """Return the ids of the patches that a run was made with.

        Raises:
            TrackingError: MLflow has no such run, or no such list of it.
        """
        with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
            return read_table(self.download(run_id, PATCHES_ARTIFACT, Path(folder)), ["id"])["id"]

    def download(self, run_id: str, artifact: str, folder: Path) -> Path:
        """Fetch a file or folder that a run keeps into `folder` and return where it lies.

        Raises:
            TrackingError: the run has none, or was deleted.
        """
        self.require(run_id)
        with self._connection.explained():
            # Asked first, for the download never says what a server responded (MLflow 3.17).
            listed = self._client.list_artifacts(run_id, artifact.rpartition("/")[0] or None)
            if artifact not in {one.path for one in listed}:
                raise TrackingError(
                    f"Run {run_id} keeps no {artifact} in MLflow. Choose another version: "
                    "`cracks models` lists them."
                )
            return Path(self._client.download_artifacts(run_id, artifact, str(folder)))

    def download_if_kept(self, run_id: str, artifact: str, folder: Path) -> Path | None:
        """Return what a run keeps as `download` does, or None if it does not.

        Raises:
            TrackingUnavailable: the server cannot be reached.
        """
        try:
            return self.download(run_id, artifact, folder)
        except TrackingUnavailable:
            raise
        except TrackingError:
            return None


def _system_metrics(
    resources: Mapping[str, Sequence[Mapping[str, float]]], now: int
) -> Iterator[tuple[str, float, int, int]]:
    """Yield name, value, time and step of each sample, stage after stage, as if in one go."""
    before = 0.0
    for stage, samples in resources.items():
        for sample in samples:
            step = round(before + sample["seconds"])
            for name, shown in SYSTEM_METRICS.items():
                yield shown, sample[name], now, step
        seconds = samples[-1]["seconds"] if samples else 0.0
        yield f"system/{stage}_seconds", seconds, now, 0
        before += seconds


def _log_dataset(record: TrainingRecord) -> None:
    import mlflow

    with warnings.catch_warnings():
        # MLflow warns of integer columns, and that a local source may be of several kinds.
        warnings.simplefilter("ignore", UserWarning)
        dataset = mlflow.data.from_pandas(
            record.manifest,
            source=record.data_source,
            name="concrete-patches",
            targets="label",
            digest=record.data_digest,
        )
        mlflow.log_input(dataset, context="training")


def _requirements() -> list[str]:
    """Return what loading the model needs; letting MLflow find out takes 15 s."""
    from importlib.metadata import version

    return [f"{package}=={version(package)}" for package in ("tensorflow", "keras", "numpy")]
