"""MLflow: a run for each training, sweep and trial, and the registry with its champion."""

from __future__ import annotations

from cracks.registry.mlflow_store.connection import Connection
from cracks.registry.mlflow_store.experiments import Experiment
from cracks.registry.mlflow_store.ledger_store import LedgerStore
from cracks.registry.mlflow_store.model_versions import Registry
from cracks.registry.mlflow_store.promotion_lock import PromotionLock
from cracks.registry.mlflow_store.training_runs import Runs
from cracks.workspace.paths import Paths

EXPERIMENT = "concrete-crack-training"


class Tracking:
    """The tracking store and model registry of a workspace."""

    def __init__(self, paths: Paths, model_name: str) -> None:
        """Connect to MLFLOW_TRACKING_URI, or to the sqlite database in the workspace.

        Raises:
            TrackingUnavailable: the server cannot be reached.
        """
        self.connection = connection = Connection(paths)
        self.training = Experiment(connection, EXPERIMENT)
        _ = self.training.id  # says at once if the server cannot be reached
        self.uri, self.model_name = connection.uri, model_name
        self.runs = Runs(connection, self.training)
        self.registry = Registry(connection, model_name)
        self.ledger = LedgerStore(connection, model_name)
        self.promotion_lock = PromotionLock(connection, model_name)
