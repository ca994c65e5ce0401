"""MLflow: one run a training, the model registry, and the alias `champion`."""

from __future__ import annotations

import getpass
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from cracks.bundle import open_bundle
from cracks.errors import TrackingError, TrackingUnavailable
from cracks.paths import Paths

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowModelVersion

EXPERIMENT = "concrete-crack-training"
CHAMPION = "champion"
URI_VARIABLE = "MLFLOW_TRACKING_URI"

#: Lets the MLflow UI open with the pages for model training, not with those for chat agents.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

#: Where a run keeps its bundle, and the tag that finds the run of a bundle.
BUNDLE_ARTIFACT = "bundle"
BUNDLE_TAG = "bundle.digest"
VERDICT_TAG = "verdict"
REASON_TAG = "verdict.reason"

#: Tags of a sweep's run, and of the runs of its trials.
SWEEP_TAG, SWEEP_IDENTITY_TAG, TRIAL_TAG = "sweep", "sweep.identity", "sweep.trial"
PARENT_TAG = "mlflow.parentRunId"

#: Metrics that MLflow takes in one request.
LARGEST_BATCH = 1000

#: What MLflow's page of system metrics calls them.
SYSTEM_METRICS = {"cpu_percent": "system/cpu_percent", "memory_mb": "system/memory_megabytes"}

#: MLflow's largest length of the value of a parameter and of a tag.
LONGEST_PARAM, LONGEST_TAG = 6000, 5000


@dataclass(frozen=True)
class TrainingRecord:
    """Everything that a run says of one training."""

    name: str
    params: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    resources: Mapping[str, Sequence[Mapping[str, float]]]  # of each stage, a row a second
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Sequence[Path]
    figures: Sequence[Path]
    bundle: Path
    model: Path
    example: npt.NDArray[np.uint8]  # (n, size, size, 3), what the model takes
    manifest: pd.DataFrame
    data_digest: str  # at most 36 characters
    data_source: str


@dataclass(frozen=True)
class TrialRecord:
    """Everything that a run says of one trial of a sweep."""

    number: int
    name: str
    params: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry."""

    name: str
    version: str
    run_id: str
    aliases: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    created: float = 0.0  # seconds since 1970


class Tracking:
    """The tracking store and model registry of a workspace."""

    def __init__(self, paths: Paths, model_name: str) -> None:
        """Connect to MLFLOW_TRACKING_URI, or to the sqlite database in the workspace.

        Raises:
            TrackingUnavailable: the server cannot be reached.
        """
        import mlflow

        self.model_name = model_name
        self.uri = tracking_uri(paths)
        self._artifacts, alone = None, ExitStack()
        if self.uri.startswith("sqlite:"):
            paths.local_tracking.mkdir(parents=True, exist_ok=True)
            self._artifacts = (paths.local_tracking / "artifacts").as_uri()
            # Two processes that make the database at once spoil it.
            alone.enter_context(FileLock(paths.local_tracking / "mlflow.lock"))
        with alone, _explained(self.uri):
            self._client: MlflowClient = mlflow.MlflowClient(self.uri, self.uri)
            self._experiment = self._experiment_id()

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found:
            return str(found.experiment_id)
        return str(self._client.create_experiment(EXPERIMENT, self._artifacts, EXPERIMENT_TAGS))

    def run_of_bundle(self, digest: str) -> str | None:
        """Return the id of the finished run that trained a bundle, or None."""
        with _explained(self.uri):
            runs = self._client.search_runs(
                [self._experiment],
                f"tags.`{BUNDLE_TAG}` = '{digest}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
        return str(runs[0].info.run_id) if runs else None

    def log_training(self, record: TrainingRecord) -> str:
        """Write one run and return its id; a run that fails half-way is marked as failed.

        Raises:
            TrackingError: the store refused.
        """
        open_bundle(record.bundle)
        with _explained(self.uri), _current(self.uri):
            run_id = self._created(record.name, "cracks train", record.tags)
            try:
                self._log_numbers(run_id, record)
                self._log_files(run_id, record)
                self._log_model(run_id, record)
            except BaseException:
                self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id, "FINISHED")
        return run_id

    def open_sweep(self, name: str, identity: str, tags: Mapping[str, str]) -> str:
        """Return the id of the run of a sweep, which is made if it is not there yet.

        Args:
            name: of the sweep.
            identity: tells it from others of this name, which came before.
            tags: of a new run.
        """
        known = f"tags.`{SWEEP_TAG}` = '{name}' and tags.`{SWEEP_IDENTITY_TAG}` = '{identity}'"
        with _explained(self.uri):
            found = self._client.search_runs([self._experiment], known, max_results=1)
            if found:
                run_id = str(found[0].info.run_id)
                self._client.update_run(run_id, status="RUNNING")
                return run_id
            named = {SWEEP_TAG: name, SWEEP_IDENTITY_TAG: identity}
            return self._created(f"sweep {name}", "cracks sweep", {**tags, **named})

    def log_trials(self, sweep_run: str, records: Sequence[TrialRecord]) -> None:
        """Write a run below that of the sweep for each trial that has none yet."""
        with _explained(self.uri):
            known = self._runs_of_trials(sweep_run)
            for record in records:
                if record.number not in known:
                    self._log_trial(sweep_run, record)

    def close_sweep(
        self, sweep_run: str, metrics: Mapping[str, float], tags: Mapping[str, str], *, whole: bool
    ) -> None:
        """Say what a sweep has found, and whether it has all of its trials."""
        self.tag_run(sweep_run, tags)
        with _explained(self.uri):
            self._log_series(sweep_run, {}, metrics, [])
            self._client.set_terminated(sweep_run, "FINISHED" if whole else "KILLED")

    def _runs_of_trials(self, sweep_run: str) -> set[int]:
        """Return the trials that have a whole run, and remove what a killed process left."""
        found: set[int] = set()
        page = None
        while page != "":
            runs = self._client.search_runs(
                [self._experiment], f"tags.`{PARENT_TAG}` = '{sweep_run}'", page_token=page
            )
            for run in runs:
                if run.info.status == "FINISHED":
                    found.add(int(run.data.tags[TRIAL_TAG]))
                else:
                    self._client.delete_run(run.info.run_id)
            page = runs.token or ""
        return found

    def _log_trial(self, sweep_run: str, record: TrialRecord) -> None:
        below = {PARENT_TAG: sweep_run, TRIAL_TAG: str(record.number)}
        run_id = self._created(record.name, "cracks sweep", {**record.tags, **below})
        self._log_series(run_id, record.params, record.metrics, record.history)
        self._client.set_terminated(run_id, "FINISHED")

    def _created(self, name: str, source: str, tags: Mapping[str, str]) -> str:
        own = {
            "mlflow.runName": name,
            "mlflow.user": getpass.getuser(),
            "mlflow.source.name": source,
        }
        all_tags = {**own, **{key: value[:LONGEST_TAG] for key, value in tags.items()}}
        return str(self._client.create_run(self._experiment, tags=all_tags).info.run_id)

    def _log_numbers(self, run_id: str, record: TrainingRecord) -> None:
        from mlflow.entities import Metric

        self._log_series(run_id, record.params, record.metrics, record.history)
        now = int(time.time() * 1000)
        used = [Metric(*row) for row in _system_metrics(record.resources, now)]
        for start in range(0, len(used), LARGEST_BATCH):
            self._client.log_batch(run_id, metrics=used[start : start + LARGEST_BATCH])

    def _log_series(
        self,
        run_id: str,
        given: Mapping[str, Any],
        metrics: Mapping[str, float],
        history: Sequence[Mapping[str, float]],
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        params = [Param(key, str(value)[:LONGEST_PARAM]) for key, value in given.items()]
        final = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
        epochs = [
            Metric(f"epoch.{key}", float(value), now, int(row["epoch"]))
            for row in history
            for key, value in row.items()
            if key != "epoch"
        ]
        self._client.log_batch(run_id, metrics=final + epochs, params=params)

    def _log_files(self, run_id: str, record: TrainingRecord) -> None:
        for file in record.files:
            self._client.log_artifact(run_id, str(file))
        for figure in record.figures:
            self._client.log_artifact(run_id, str(figure), f"figures/{figure.parent.name}")
        self._client.log_artifacts(run_id, str(record.bundle), BUNDLE_ARTIFACT)

    def _log_model(self, run_id: str, record: TrainingRecord) -> None:
        import mlflow
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        from cracks.model.storage import load_model

        signature = ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, *record.example.shape[1:]), "image")]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, 1), "score")]),
        )
        with mlflow.start_run(run_id=run_id):
            mlflow.keras.log_model(
                load_model(record.model),
                name="model",
                signature=signature,
                pip_requirements=_requirements(),
            )
            # `input_example=` crashes the Keras flavour of MLflow 3.17, so it lies beside.
            self._client.log_dict(
                run_id, {"inputs": record.example.tolist()}, "model_input_example.json"
            )
            _log_dataset(record)

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        with _explained(self.uri):
            for key, value in tags.items():
                self._client.set_tag(run_id, key, value[:LONGEST_TAG])

    def run_tags(self, run_id: str) -> dict[str, str]:
        """Return the tags of a run."""
        with _explained(self.uri):
            return dict(self._client.get_run(run_id).data.tags)

    def run_metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run."""
        with _explained(self.uri):
            return dict(self._client.get_run(run_id).data.metrics)

    def register(self, run_id: str, tags: Mapping[str, str], description: str) -> ModelVersion:
        """Make the model of a run a new version; the same run never makes a second one.

        Raises:
            TrackingError: the registry refused.
        """
        known = [version for version in self.versions() if version.run_id == run_id]
        if known:
            return known[0]
        import mlflow

        shortened = {key: value[:LONGEST_TAG] for key, value in tags.items()}
        with _explained(self.uri), _current(self.uri):
            # Not the client's `create_model_version`: it does not find the model of a run.
            created = mlflow.register_model(
                f"runs:/{run_id}/model", self.model_name, tags=shortened
            )
            self._client.update_model_version(self.model_name, created.version, description)
        return _model_version(created)

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the newest first."""
        with _explained(self.uri):
            found = self._client.search_model_versions(f"name = '{self.model_name}'")
            # The search leaves the aliases out.
            model = self._client.search_registered_models(f"name = '{self.model_name}'")
        aliases: dict[str, list[str]] = {}
        for alias, version in (model[0].aliases if model else {}).items():
            aliases.setdefault(str(version), []).append(alias)
        listed = [_model_version(one, aliases.get(str(one.version), [])) for one in found]
        return sorted(listed, key=lambda one: int(one.version), reverse=True)

    def champion(self) -> ModelVersion | None:
        """Return the version that the alias `champion` names, or None."""
        return next((one for one in self.versions() if CHAMPION in one.aliases), None)

    def set_champion(self, version: str) -> None:
        """Move the alias `champion`."""
        with _explained(self.uri):
            self._client.set_registered_model_alias(self.model_name, CHAMPION, version)

    def refused_runs(self) -> list[dict[str, Any]]:
        """Return run id, name, reason and metrics of the refused challengers, the newest first."""
        with _explained(self.uri):
            runs = self._client.search_runs(
                [self._experiment], f"tags.`{VERDICT_TAG}` = 'refused'", max_results=100
            )
        return [
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "reason": run.data.tags.get(REASON_TAG, ""),
                "metrics": dict(run.data.metrics),
            }
            for run in runs
        ]

    def download_bundle(self, run_id: str, folder: Path) -> Path:
        """Fetch the bundle of a run into `folder` and return where it lies, still unverified.

        Raises:
            TrackingError: the run has none.
        """
        with _explained(self.uri):
            return Path(self._client.download_artifacts(run_id, BUNDLE_ARTIFACT, str(folder)))


def tracking_uri(paths: Paths) -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the sqlite database in the workspace."""
    given = os.environ.get(URI_VARIABLE)
    return given or f"sqlite:///{paths.local_tracking / 'mlflow.db'}"


def _model_version(found: MlflowModelVersion, aliases: list[str] | None = None) -> ModelVersion:
    return ModelVersion(
        name=str(found.name),
        version=str(found.version),
        run_id=str(found.run_id),
        aliases=sorted(aliases or []),
        tags=dict(found.tags),
        created=found.creation_timestamp / 1000,
    )


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


@contextmanager
def _current(uri: str) -> Iterator[None]:
    """Point MLflow's global functions at `uri`, and back, the variable that they set too."""
    import mlflow

    variable = os.environ.get(URI_VARIABLE)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        os.environ.pop(URI_VARIABLE, None)
        if variable is not None:
            os.environ[URI_VARIABLE] = variable


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn what MLflow and its HTTP client raise into this project's errors."""
    import requests
    from mlflow.exceptions import MlflowException

    where = uri if uri.startswith("http") else "the local tracking store"
    try:
        yield
    except requests.exceptions.ConnectionError as error:
        raise TrackingUnavailable(_unreachable(where)) from error
    except MlflowException as error:
        first_line = str(error).splitlines()[0] if str(error) else "no reason given"
        status = error.get_http_status_code()
        if "too many 500 error responses" in str(error):
            raise TrackingError(f"The MLflow server {where} fails (500). See its log.") from error
        unreachable = "Max retries exceeded" in str(error) or "Connection" in first_line
        if unreachable or (uri.startswith("http") and status in (429, 502, 503, 504)):
            raise TrackingUnavailable(_unreachable(where)) from error
        raise TrackingError(f"MLflow ({where}) refused: {first_line}") from error


def _unreachable(where: str) -> str:
    return (
        f"The MLflow server {where} cannot be reached. Start it, or unset MLFLOW_TRACKING_URI to "
        "use the local store of the workspace."
    )
