"""A run for each sweep, and one below it for each finished trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cracks.registry.mlflow_store.connection import Connection, shortened
from cracks.registry.mlflow_store.experiments import Experiment
from cracks.registry.mlflow_store.records import TrialRecord
from cracks.registry.tags import COMMIT_TAG, DATA_TAG, DIRTY_TAG
from cracks.system.hashing import digest_of_value
from cracks.training.sweep.search_space import assigned, written
from cracks.training.sweep.study import Sweep, Trial, ranked
from cracks.versioning.dvc_stages import output_digest
from cracks.versioning.git_state import code_version
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths

if TYPE_CHECKING:
    from cracks.registry.mlflow_store.tracking import Tracking

#: Tags of a sweep's run, and of the runs of its trials.
SWEEP_TAG, SWEEP_IDENTITY_TAG, TRIAL_TAG = "sweep", "sweep.identity", "sweep.trial"
PARENT_TAG = "mlflow.parentRunId"


class Sweeps:
    """The runs of sweeps and of their trials."""

    def __init__(self, connection: Connection, experiment: Experiment) -> None:
        """Write into `experiment`."""
        self._connection, self._experiment = connection, experiment
        self._client = connection.client

    def open(self, name: str, identity: str, tags: Mapping[str, str]) -> str:
        """Return the id of the run of a sweep, which is made if it is not there yet.

        Args:
            name: of the sweep.
            identity: tells it from others of this name, which came before.
            tags: of a new run.
        """
        known = f"tags.`{SWEEP_TAG}` = '{name}' and tags.`{SWEEP_IDENTITY_TAG}` = '{identity}'"
        with self._connection.explained():
            found = self._client.search_runs([self._experiment.id], known, max_results=1)
            if found:
                run_id = str(found[0].info.run_id)
                self._client.update_run(run_id, status="RUNNING")
                return run_id
        named = {SWEEP_TAG: name, SWEEP_IDENTITY_TAG: identity}
        return self._experiment.create_run(f"sweep {name}", "cracks sweep", {**tags, **named})

    def log_trials(self, sweep_run: str, records: Sequence[TrialRecord]) -> None:
        """Write a run below that of the sweep for each trial that has none yet."""
        with self._connection.explained():
            known = self._trials_with_runs(sweep_run)
            for record in records:
                if record.number not in known:
                    self._log_trial(sweep_run, record)

    def close(
        self, sweep_run: str, metrics: Mapping[str, float], tags: Mapping[str, str], *, whole: bool
    ) -> None:
        """Say what a sweep has found, and whether it has all of its trials."""
        with self._connection.explained():
            for key, value in shortened(tags).items():
                self._client.set_tag(sweep_run, key, value)
            self._experiment.log_series(sweep_run, {}, metrics, [])
            self._client.set_terminated(sweep_run, "FINISHED" if whole else "KILLED")

    def _trials_with_runs(self, sweep_run: str) -> set[int]:
        """Return the trials that have a whole run, and remove what a killed process left."""
        found: set[int] = set()
        for run in self._experiment.runs(f"tags.`{PARENT_TAG}` = '{sweep_run}'"):
            if run.info.status == "FINISHED":
                found.add(int(run.data.tags[TRIAL_TAG]))
            else:
                self._client.delete_run(run.info.run_id)
        return found

    def _log_trial(self, sweep_run: str, record: TrialRecord) -> None:
        below = {PARENT_TAG: sweep_run, TRIAL_TAG: str(record.number)}
        run_id = self._experiment.create_run(record.name, "cracks sweep", {**record.tags, **below})
        self._experiment.log_series(run_id, record.params, record.metrics, record.history)
        self._client.set_terminated(run_id, "FINISHED")


class SweepRun:
    """The run of a sweep. What is in the sweep's file and not in MLflow yet is added."""

    def __init__(self, tracking: Tracking, sweep: Sweep, params: Params, paths: Paths) -> None:
        """Find the run, or make it."""
        self._tracking, self._sweep, self._params = tracking, sweep, params
        code = code_version(paths.root)
        self._tags = {
            COMMIT_TAG: code.commit,
            DIRTY_TAG: str(code.dirty).lower(),
            DATA_TAG: output_digest(paths, "ingest", "data/images"),
        }
        varied = {f"vary.{key}": str(values) for key, values in sweep.space.items()}
        with sweep.locked():
            self._run = tracking.sweeps.open(
                sweep.name, digest_of_value(sweep.identity), self._tags | varied
            )
        self.catch_up()

    def catch_up(self) -> None:
        """Write a run for each finished trial, by whichever process, that has none."""
        with self._sweep.locked():
            finished = [trial for trial in self._sweep.trials() if trial.state == "finished"]
            self._tracking.sweeps.log_trials(self._run, [self._record(trial) for trial in finished])

    def close(self, wanted: int) -> None:
        """Name the best trial; the run is whole if `wanted` trials have ended."""
        with self._sweep.locked():
            trials = self._sweep.trials()
            ended = [trial for trial in trials if trial.state != "running"]
            metrics: dict[str, float] = {"trials": len(ended)}
            tags: dict[str, str] = {}
            for best in ranked(trials)[:1]:
                metrics |= _best(best)
                tags = {"best.trial": str(best.number), **_written(best.values, "best.")}
            self._tracking.sweeps.close(self._run, metrics, tags, whole=len(ended) >= wanted)

    def _record(self, trial: Trial) -> TrialRecord:
        params = assigned(self._params, trial.values)
        section = params.featurize
        return TrialRecord(
            number=trial.number,
            name=f"{self._sweep.name} {trial.number}: {section.architecture}-"
            f"{section.image_size}px-{params.mode}",
            params=_written(trial.values),
            history=trial.history,
            metrics=_best(trial) | {"epochs": len(trial.history)},
            tags={
                **self._tags,
                "architecture": section.architecture,
                "mode": params.mode,
                "precision": section.precision,
            },
        )


def _best(trial: Trial) -> dict[str, float]:
    return {f"best.{name}": value for name, value in trial.best.items()}


def _written(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{key}": written(value) for key, value in values.items()}
