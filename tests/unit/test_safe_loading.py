"""Safe loading: nothing here can unpickle, and models load in Keras' safe mode."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.builders import ROOT

#: What executes, or can be made to execute, code that lies in a file.
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_NAMES = {"enable_unsafe_deserialization", "read_pickle", "to_pickle", "eval", "exec"}

FILES = [
    file
    for package in ("benchmarks", "cli", "cracks", "flows", "infra", "serving", "tasks")
    for file in sorted((ROOT / package).rglob("*.py"))
]


def _calls(file: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the name of each function that is called, and its arguments that are constants."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            constants = {
                one.arg: one.value.value
                for one in node.keywords
                if one.arg and isinstance(one.value, ast.Constant)
            }
            yield ast.unparse(node.func), constants


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_can_unpickle(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        imported = []
        if isinstance(node, ast.Import):
            imported = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        assert not {name.split(".")[0] for name in imported} & UNSAFE_MODULES
    for name, constants in _calls(file):
        assert name.split(".")[-1] not in UNSAFE_NAMES or name == "model.eval"
        assert constants.get("allow_pickle", False) is False
        if name == "keras.saving.load_model" or name.endswith("models.load_model"):
            assert constants["safe_mode"] is True
        if name == "YAML":
            assert constants.get("typ", "rt") in ("rt", "safe")


def test_the_tracking_server_is_told_to_unpickle_nothing() -> None:
    settings = (ROOT / "mlflow/server.env").read_text().splitlines()
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in settings
