"""What the service shows of the training runs: the flow writes a summary of each at its end.

    service/training-runs.json   the last runs, newest first

Prefect and MLflow have all of it; serving never asks them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cracks.errors import ServiceError
from cracks.system.atomic_files import write_json
from cracks.system.validation_errors import reason_of
from cracks.workspace.stage_reports import MetricName, StageReports

FILE = "training-runs.json"

#: Runs that are listed: half a year, where one runs each night.
TOLD = 200

#: Characters of a reason or refusal; the flow's own log has all of it.
LONGEST = 2000

Outcome = Literal["promoted", "unchanged", "waiting", "registered", "refused", "failed"]


class Estimate(BaseModel):
    """A measured share with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: Annotated[float, Field(examples=[0.9991])]
    low: Annotated[float | None, Field(examples=[0.9964])] = None
    high: Annotated[float | None, Field(examples=[1.0])] = None


class Comparison(BaseModel):
    """How much better, above 0, or worse than the champion of that day."""

    model_config = ConfigDict(frozen=True)

    metric: Annotated[str, Field(examples=["accuracy"])]
    challenger: Annotated[float, Field(examples=[0.9991])]
    champion: Annotated[float, Field(examples=[0.9985])]
    difference: Annotated[float, Field(examples=[0.0006])]
    low: Annotated[float, Field(examples=[-0.0004])]
    high: Annotated[float, Field(examples=[0.0019])]


class DataSeen(BaseModel):
    """The photographs that there were, and the results of their expectations."""

    model_config = ConfigDict(frozen=True)

    source: Annotated[str, Field(examples=["mendeley"])]
    patches: Annotated[int, Field(examples=[40000])]
    distinct_patches: Annotated[int, Field(examples=[38402])]
    quarantined: Annotated[int, Field(examples=[0])]
    labels: Annotated[dict[str, int], Field(examples=[{"no crack": 20000, "crack": 20000}])]
    expectations: Annotated[int | None, Field(examples=[27])] = None
    broken: Annotated[list[str], Field(description="expectations", examples=[[]])] = []
    drift: Annotated[
        dict[str, float],
        Field(
            description="from the data accepted before: population stability index of each fact, "
            "and change of the share of cracks",
            examples=[{"brightness": 0.02, "crack_share": 0.001}],
        ),
    ] = {}


class TrainingRun(BaseModel):
    """A run of the flow `training`, as it ended."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: Annotated[str, Field(examples=["0190c2e6-4b1f-7c31-9b0e-0f3c7f6d2a11"])]
    name: Annotated[str, Field(examples=["dashing-otter"])]
    started: Annotated[str, Field(examples=["2026-11-21T03:00:04+00:00"])]
    ended: Annotated[str, Field(examples=["2026-11-21T03:04:31+00:00"])]
    why: Annotated[
        str, Field(description="what it was started for", examples=["drift of the embeddings"])
    ] = ""
    outcome: Annotated[Outcome, Field(examples=["promoted"])]
    verdict: Annotated[str | None, Field(examples=["better"])] = None
    reasons: Annotated[
        list[str],
        Field(
            description="of the verdict, or why the run failed",
            examples=[["crack recall is higher by 0.002"]],
        ),
    ] = []
    run_id: Annotated[
        str | None, Field(description="in MLflow", examples=["5c0b6f1f2a8c4a7d8f0d6b8e3a1c9d42"])
    ] = None
    version: Annotated[str | None, Field(examples=["3"])] = None
    stages: Annotated[
        dict[str, str],
        Field(
            description="ran, up to date, or failed",
            examples=[{"ingest": "ran", "split": "up to date"}],
        ),
    ] = {}
    data: DataSeen | None = None
    test: Annotated[dict[str, Estimate], Field(description="metrics on the test split")] = {}
    comparison: list[Comparison] = []


RUNS = TypeAdapter(list[TrainingRun])


def data_seen(reports: StageReports) -> DataSeen | None:
    """Return the summary of the data from the reports; None before `ingest` has ended.

    Args:
        reports: by stage, those of the stages that this run has brought up to date.
    """
    if "ingest" not in reports:
        return None
    checked = reports.get("validate")
    expectations = checked["expectations"] if checked else []
    return DataSeen.model_validate(
        reports["ingest"]
        | {
            "expectations": len(expectations) if checked else None,
            "broken": [row["name"] for row in expectations if not row["success"]],
            # Data that is refused is not compared with what was accepted before.
            "drift": checked.get("drift", {}) if checked else {},
        }
    )


def estimates_on_test(reports: StageReports, metrics: Sequence[MetricName]) -> dict[str, Estimate]:
    """Return some metrics on test with their intervals; none before `evaluate` has ended."""
    if "evaluate" not in reports:
        return {}
    test = reports["evaluate"]["test"]
    return {
        name: Estimate(value=test[name], **_bounds(test["intervals"].get(name, {})))
        for name in metrics
        if name in test
    }


def _bounds(interval: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(interval[name]) for name in ("low", "high") if name in interval}


def outcome_of(result: Mapping[str, Any] | None) -> Outcome:
    """Return how a run ended.

    Args:
        result: what the flow returns; None where it failed.
    """
    if result is None:
        return "failed"
    if result["promoted"]:
        return "unchanged" if result["verdict"] == "unchanged" else "promoted"
    outcomes: dict[str, Outcome] = {"ask": "waiting", "register": "registered"}
    return outcomes.get(result["action"], "refused")


def record_run(service: Path, run: TrainingRun) -> None:
    """Put a run before the others; one that is listed already is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    service.mkdir(parents=True, exist_ok=True)
    # Several workspaces may train for one service.
    with FileLock(service / f".{FILE}.lock"):
        try:
            earlier = read_runs(service)
        except ServiceError:
            earlier = []  # Prefect still has them
        others = [one for one in earlier if one.flow_run_id != run.flow_run_id]
        newest_first = sorted([run, *others], key=lambda one: one.ended, reverse=True)
        write_json(service / FILE, [one.model_dump() for one in newest_first[:TOLD]])


def read_runs(service: Path) -> list[TrainingRun]:
    """Return the last training runs, newest first; none before the first one.

    Raises:
        ServiceError: the file is damaged.
    """
    try:
        return RUNS.validate_python(json.loads((service / FILE).read_bytes()))
    except FileNotFoundError:
        return []
    except ValueError as error:  # no JSON, or not what a run says
        raise ServiceError(
            f"{service / FILE} is damaged ({reason_of(error)}). The next training rewrites it."
        ) from None
