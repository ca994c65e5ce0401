"""A run for each sweep, and one below it for each finished trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.tags import checkout_tags
from cracks.system.hashing import digest_of_value
from cracks.training.sweep.search_space import assigned, written
from cracks.training.sweep.study import Sweep, Trial, ranked
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths

#: Tags of a sweep's run, and of the runs of its trials.
SWEEP_TAG, SWEEP_IDENTITY_TAG, TRIAL_TAG = "sweep", "sweep.identity", "sweep.trial"
PARENT_TAG = "mlflow.parentRunId"


class SweepRun:
    """The run of a sweep. What is in the sweep's file and not in MLflow yet is added."""

    def __init__(self, tracking: Tracking, sweep: Sweep, params: Params, paths: Paths) -> None:
        """Find the run, or make it."""
        self._connection, self._experiment = tracking.connection, tracking.training
        self._client, self._runs = tracking.connection.client, tracking.runs
        self._sweep, self._params = sweep, params
        self._tags = checkout_tags(paths)
        with sweep.locked():
            self._run = self._open()
        self.catch_up()

    def _open(self) -> str:
        """Return the id of the run, which is made unless this very sweep has one."""
        name, identity = self._sweep.name, digest_of_value(self._sweep.identity)
        known = f"tags.`{SWEEP_TAG}` = '{name}' and tags.`{SWEEP_IDENTITY_TAG}` = '{identity}'"
        if run := next(self._experiment.runs(known), None):
            with self._connection.explained():
                self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        varied = {f"vary.{key}": str(values) for key, values in self._sweep.space.items()}
        named = {SWEEP_TAG: name, SWEEP_IDENTITY_TAG: identity}
        tags = self._tags | varied | named
        return self._experiment.create_run(f"sweep {name}", "cracks sweep", tags)

    def catch_up(self) -> None:
        """Write a run for each finished trial, by whichever process, that has none."""
        with self._sweep.locked(), self._connection.explained():
            known = self._trials_with_runs()
            for trial in self._sweep.trials():
                if trial.state == "finished" and trial.number not in known:
                    self._log(trial)

    def close(self, wanted: int) -> None:
        """Name the best trial; the run is whole if `wanted` trials have ended."""
        with self._sweep.locked(), self._connection.explained():
            trials = self._sweep.trials()
            ended = [trial for trial in trials if trial.state != "running"]
            metrics: dict[str, float] = {"trials": len(ended)}
            tags: dict[str, str] = {}
            for best in ranked(trials)[:1]:
                metrics |= _best(best)
                tags = {"best.trial": str(best.number), **_written(best.values, "best.")}
            self._runs.tag(self._run, tags)
            self._experiment.log_series(self._run, {}, metrics, [])
            status = "FINISHED" if len(ended) >= wanted else "KILLED"
            self._client.set_terminated(self._run, status)

    def _trials_with_runs(self) -> set[int]:
        """Return the trials that have a whole run, and remove what a killed process left."""
        found: set[int] = set()
        for run in self._experiment.runs(f"tags.`{PARENT_TAG}` = '{self._run}'"):
            if run.info.status == "FINISHED":
                found.add(int(run.data.tags[TRIAL_TAG]))
            else:
                self._client.delete_run(run.info.run_id)
        return found

    def _log(self, trial: Trial) -> None:
        params = assigned(self._params, trial.values)
        section = params.featurize
        network = f"{section.architecture}-{section.image_size}px-{params.mode}"
        tags = {
            **self._tags,
            "architecture": section.architecture,
            "mode": params.mode,
            "precision": section.precision,
            PARENT_TAG: self._run,
            TRIAL_TAG: str(trial.number),
        }
        run_id = self._experiment.create_run(
            f"{self._sweep.name} {trial.number}: {network}", "cracks sweep", tags
        )
        metrics = _best(trial) | {"epochs": len(trial.history)}
        self._experiment.log_series(run_id, _written(trial.values), metrics, trial.history)
        self._client.set_terminated(run_id, "FINISHED")


def _best(trial: Trial) -> dict[str, float]:
    return {f"best.{name}": value for name, value in trial.best.items()}


def _written(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{key}": written(value) for key, value in values.items()}
