"""Show a sweep in MLflow: a run of its own, and one below it for each finished trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cracks.registry.lineage.chain import COMMIT_TAG, DATA_TAG, DIRTY_TAG
from cracks.registry.mlflow_store.records import TrialRecord
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.system.hashing import digest_of_value
from cracks.training.sweep.search_space import assigned, written
from cracks.training.sweep.study import Sweep, Trial, ranked
from cracks.versioning.dvc_stages import code_version, output_digest
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths


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
