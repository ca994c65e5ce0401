"""What a process of a test or a measurement gets of this one: its tools, no personal settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: How variables begin that are somebody's own settings of these tools.
SETTINGS = (
    "AWS_",
    "CRACKS_",
    "DASK_",
    "DVC_",
    "GIT_",
    "KERAS_",
    "MLFLOW_",
    "ONEDNN_",
    "PREFECT_",
    "PYTHON",
    "TF_",
    "UV_",
)

#: A place, which decides nothing but the time that is taken.
KEPT = "UV_CACHE_DIR"


def clean_environment() -> dict[str, str]:
    """Return the variables of this process without anybody's settings, its tools first in PATH."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name == KEPT or not name.startswith(SETTINGS)
    }
    tools = str(Path(sys.executable).parent)
    return {**clean, "PATH": os.pathsep.join([tools, clean.get("PATH", os.defpath)])}
