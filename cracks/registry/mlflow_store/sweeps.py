"""A run for each sweep, and one below it for each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cracks.registry.mlflow_store.connection import Connection, shortened
from cracks.registry.mlflow_store.experiments import Experiment
from cracks.registry.mlflow_store.records import TrialRecord

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
