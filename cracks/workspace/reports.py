"""Read and write the stages' reports: JSON in git, for people, DVC, Prefect and MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cracks.errors import WorkspaceError
from cracks.system.atomic_files import write_json

#: What a stage found out, as JSON values.
Report = dict[str, Any]


def write_report(path: Path, report: Report) -> None:
    """Write `report` to `path`, whole or not at all."""
    write_json(path, report)


def read_report(path: Path) -> Report:
    """Return the report at `path`.

    Raises:
        WorkspaceError: there is none, or it is no JSON object.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(f"{path} does not exist. Run `dvc repro` to make it.") from None
    except ValueError as error:  # no UTF-8, or no JSON
        raise WorkspaceError(
            f"{path} is damaged ({error}). Run `dvc repro` to remake it."
        ) from None
    if not isinstance(report, dict):
        raise WorkspaceError(f"{path} holds no report. Run `dvc repro` to remake it.")
    return report


def flatten(report: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a nested report by dotted name, as `{"test.accuracy": 0.99}`."""
    numbers: dict[str, float] = {}
    for key, value in report.items():
        if isinstance(value, Mapping):
            numbers |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[f"{prefix}{key}"] = float(value)
    return numbers
