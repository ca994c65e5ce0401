"""An experiment of MLflow: the folder of runs that one page shows together."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cracks.errors import TrackingError
from cracks.registry.mlflow_store.connection import LONGEST_PARAM, Connection, shortened

if TYPE_CHECKING:
    from mlflow.entities import Run

#: Lets the MLflow UI open with the pages for model training, not with those for chat agents.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

#: Metrics that MLflow takes in one request.
LARGEST_BATCH = 1000


class Experiment:
    """An experiment by its name; it is made where something is written and there is none yet."""

    def __init__(self, connection: Connection, name: str) -> None:
        """Send no request yet."""
        self._connection, self._client = connection, connection.client
        self._name = name
        self._known: str | None = None

    @property
    def id(self) -> str:
        """The id of the experiment, which is made if need be."""
        found = self._found()
        if found is None:
            with self._connection.alone():  # else two processes spoil a new local database
                self._known = found = self._found() or self._made()
        return found

    def _found(self) -> str | None:
        if self._known is None:
            with self._connection.explained():
                found = self._client.get_experiment_by_name(self._name)
            self._known = str(found.experiment_id) if found else None
        return self._known

    def _made(self) -> str:
        place = self._connection.artifacts
        try:
            with self._connection.explained():
                return str(self._client.create_experiment(self._name, place, EXPERIMENT_TAGS))
        except TrackingError:
            found = self._found()  # somebody else made it meanwhile
            if found is None:
                raise
            return found

    def create_run(self, name: str, source: str, tags: Mapping[str, str]) -> str:
        """Begin a run and return its id; `source` is the command that made it."""
        own = {
            "mlflow.runName": name,
            "mlflow.user": getpass.getuser(),
            "mlflow.source.name": source,
        }
        all_tags = {**own, **shortened(tags)}
        with self._connection.explained():
            created = self._client.create_run(self.id, tags=all_tags)
        return str(created.info.run_id)

    def runs(self, where: str = "", *, deleted_too: bool = False) -> Iterator[Run]:
        """Yield the runs that a filter of MLflow finds, page after page, the newest first."""
        from mlflow.entities import ViewType

        known, page = self._found(), None
        view = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY
        while known is not None and page != "":
            with self._connection.explained():
                runs = self._client.search_runs([known], where, view, page_token=page)
            yield from runs
            page = runs.token or ""

    def log_series(
        self,
        run_id: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        history: Sequence[Mapping[str, float]],
    ) -> None:
        """Write parameters, final metrics, and those of each epoch."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        given = [Param(key, str(value)[:LONGEST_PARAM]) for key, value in params.items()]
        final = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
        epochs = [
            Metric(f"epoch.{key}", float(value), now, int(row["epoch"]))
            for row in history
            for key, value in row.items()
            if key != "epoch"
        ]
        with self._connection.explained():
            self._client.log_batch(run_id, metrics=final + epochs, params=given)
