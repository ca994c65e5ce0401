"""register: record the training in MLflow, judge it, and make it a version if it may be one."""

from __future__ import annotations

from cracks.registry.gate import RegisterReport
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.registration import read_challenger, register_challenger
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths


def register(params: Params, paths: Paths) -> RegisterReport:
    """Judge the trained model; a refusal is a result with its reasons, not an error.

    Running it again with nothing new writes nothing and returns the same report.

    Raises:
        ParamsError: a limit is set to a number that the reports do not have.
        TrackingError: MLflow refused; TrackingUnavailable: it cannot be reached.
    """
    tracking = Tracking(paths, params.register_.model_name)
    return register_challenger(read_challenger(params, paths), tracking)
