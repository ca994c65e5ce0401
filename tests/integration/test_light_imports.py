"""What is light to import stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.builders import ROOT

HEAVY = (
    "boto3",
    "botocore",
    "dvc",
    "great_expectations",
    "jinja2",
    "keras",
    "matplotlib",
    "mlflow",
    "pandas",
    "prefect",
    "sklearn",
    "tensorflow",
)


LIGHT = (
    "cracks",
    "cracks.storage.client",
    "cracks.storage.mirrors",
    "cracks.storage.object_store",
    "cracks.workspace.params",
    "cracks.workspace.paths",
    "cracks.inference.bundle.bundle",
    "cracks.inference.handover.champion",
    "cracks.inference.bundle.classifier",
    "serving.app",
    "cli.app",
)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_no_heavy_library(module: str) -> None:
    script = f"import sys, {module}; print(*({set(HEAVY)!r} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
