"""Settings that the outside tools read when they are imported; entry points apply them."""

from __future__ import annotations

import os
import sys

DEFAULTS = {
    # The kernels decide the last bits of every weight; which ones are used must not vary.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "Agg",
    # Patches are looked at in threads of our own; OpenCV's would only wait for one another there.
    "OPENCV_FOR_THREADS_NUM": "1",
    # No tool reports home.
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "true",
    # MLflow would log every dependency of the project from uv.lock with each model.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # Standard output is for the result of a command.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Seven, MLflow's own number, wait for minutes before anybody hears that a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    # The flow's own lines belong to its run in the Prefect UI.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "cracks",
    # What is said before a run begins belongs to none; each line of it would bring a warning.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def apply_environment_defaults() -> None:
    """Set every default that the user has not set otherwise, and keep OpenVINO from reporting."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # OpenVINO reports every import and asks nobody; without this package it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
