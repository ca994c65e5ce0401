"""The layout: mlflow/ is no package, and what is light to import stays light."""

from __future__ import annotations

import importlib.util

from tests.unit.builders import ROOT


def test_the_folder_of_the_tracking_server_holds_no_python() -> None:
    # An __init__.py there would hide the library of the same name from everything here.
    assert list((ROOT / "mlflow").rglob("*.py")) == []


def test_mlflow_means_the_library_and_not_the_folder() -> None:
    found = importlib.util.find_spec("mlflow")
    assert found is not None
    assert found.origin is not None
    assert "site-packages" in found.origin
