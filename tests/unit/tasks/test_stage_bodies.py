"""Stages are short: a stage reads, calls and writes; what is known stands in `cracks`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from cracks.workspace.paths import STAGES
from tests.unit.builders import ROOT

#: Lines of a stage without its docstring, of a function beside it, and of the whole file.
STAGE, BESIDE, FILE = 30, 10, 120


def lines_of(function: ast.FunctionDef) -> int:
    """Return the lines of a function's body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def functions(stage: str) -> Iterator[ast.FunctionDef]:
    tree = ast.parse((ROOT / f"tasks/{stage}.py").read_text(encoding="utf-8"))
    return (node for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("stage", [*STAGES, "register", "promote"])
def test_a_stage_reads_calls_and_writes_and_no_more(stage: str) -> None:
    for function in functions(stage):
        most = BESIDE if function.name.startswith("_") else STAGE
        assert lines_of(function) <= most, function.name
    assert len((ROOT / f"tasks/{stage}.py").read_text(encoding="utf-8").splitlines()) < FILE
