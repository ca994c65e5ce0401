"""Keep the ledger in MLflow: one run an entry, its text in a parameter, which MLflow never changes.

Beside the text the run has its hash, and as name and tags what a person wants to see in the list.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cracks.errors import TrackingError
from cracks.registry.ledger import NO_ENTRY, Entry, StoredEntry, readable
from cracks.registry.mlflow_store.connection import Connection
from cracks.registry.mlflow_store.experiments import Experiment

if TYPE_CHECKING:
    from mlflow.entities import Run

#: The parameters of an entry's run.
ENTRY_PARAM, HASH_PARAM = "entry", "hash"


class LedgerStore:
    """The entries of one model's ledger."""

    def __init__(self, connection: Connection, model_name: str) -> None:
        """Know the experiment by its name; the first entry makes it."""
        self._connection, self._client = connection, connection.client
        self._experiment = Experiment(connection, f"{model_name}-ledger")

    def stored(self) -> list[StoredEntry]:
        """Return every entry as it is stored, also the deleted and the altered ones."""
        return [_stored(run) for run in self._runs() if ENTRY_PARAM in run.data.params]

    def entries(self) -> list[Entry]:
        """Return the entries that can be read, in their order; `cracks models --verify` judges."""
        return readable(self.stored())

    def append(self, entry: Entry) -> None:
        """Write an entry; one whose transaction has its entry already changes nothing.

        Only the process that holds the promotion lock may do so.

        Raises:
            TrackingError: another entry is the last one by now.
        """
        runs = self._runs()
        stored = [_stored(run) for run in runs if ENTRY_PARAM in run.data.params]
        entries = readable(stored)
        if any(one.transaction == entry.transaction for one in entries):
            return
        self._delete_unfinished(runs)
        _refuse_gap(entries[-1] if entries else None, entry)
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        from mlflow.entities import Param

        run_id = self._experiment.create_run(entry.title, f"cracks {entry.kind}", entry.tags)
        # Both in one request, which the store writes whole or not at all.
        params = [Param(ENTRY_PARAM, entry.text), Param(HASH_PARAM, entry.hash)]
        with self._connection.explained():
            self._client.log_batch(run_id, params=params)
        # The entry is written; this is for the eye.
        with contextlib.suppress(TrackingError), self._connection.explained():
            self._client.set_terminated(run_id, "FINISHED")

    def _delete_unfinished(self, runs: list[Run]) -> None:
        """Remove what a process left that was killed before it wrote its entry."""
        for run in runs:
            if ENTRY_PARAM not in run.data.params and run.info.lifecycle_stage == "active":
                with self._connection.explained():
                    self._client.delete_run(run.info.run_id)

    def _runs(self) -> list[Run]:
        return list(self._experiment.runs(deleted_too=True))


def _stored(run: Run) -> StoredEntry:
    return StoredEntry(
        place=f"run {run.info.run_id}",
        text=run.data.params[ENTRY_PARAM],
        hash=run.data.params.get(HASH_PARAM, ""),
        title=str(run.info.run_name),
        tags=dict(run.data.tags),
        deleted=run.info.lifecycle_stage == "deleted",
    )


def _refuse_gap(last: Entry | None, entry: Entry) -> None:
    expected = (last.number + 1, last.hash) if last else (1, NO_ENTRY)
    if (entry.number, entry.previous) != expected:
        raise TrackingError(
            f"The ledger has changed meanwhile: entry {entry.number} does not follow its last one "
            f"({last.title if last else 'there is none'}). Run the command again."
        )
