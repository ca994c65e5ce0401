"""Read and write the stages' reports: JSON in git, for people, DVC, Prefect and MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from cracks.errors import WorkspaceError
from cracks.system.atomic_files import write_json

R = TypeVar("R", bound=Mapping[str, Any])


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write `report` to `path`, whole or not at all."""
    write_json(path, report)


def read_report(path: Path, kind: type[R]) -> R:
    """Return the report at `path`.

    Args:
        path: of the report, reports/<stage>.json.
        kind: a TypedDict of `cracks.workspace.stage_reports`.

    Raises:
        WorkspaceError: there is none, it is no JSON object, or it lacks a key of `kind`.
    """
    report: Any = read_json(path)
    if missing := sorted(vars(kind)["__required_keys__"] - report.keys()):
        raise WorkspaceError(
            f"{path} lacks {', '.join(missing)}. Run `dvc repro {path.stem}` to remake it."
        )
    read: R = report
    return read


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object at `path`, whatever its keys are.

    Raises:
        WorkspaceError: there is none, or it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(f"{path} does not exist. Run `dvc repro` to make it.") from None
    except ValueError as error:  # no UTF-8, or no JSON
        raise WorkspaceError(
            f"{path} is damaged ({error}). Run `dvc repro` to remake it."
        ) from None
    if not isinstance(content, dict):
        raise WorkspaceError(f"{path} holds no report. Run `dvc repro` to remake it.")
    return content


def flatten(report: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a nested report by dotted name, as `{"test.accuracy": 0.99}`."""
    numbers: dict[str, float] = {}
    for key, value in report.items():
        if isinstance(value, Mapping):
            numbers |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[f"{prefix}{key}"] = float(value)
    return numbers
