"""`cracks models`: the versions in the registry, the champion, and the refused challengers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cracks.params import load_params
from cracks.paths import open_workspace
from cracks.terminal import print_table


def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List the model versions, which of them is the champion, and what was refused and why."""
    from cracks.tracking import CHAMPION, VERDICT_TAG, Tracking

    paths = open_workspace(context.obj)
    tracking = Tracking(paths, load_params(paths.params).register_.model_name)
    versions = [
        {
            "version": one.version,
            "champion": CHAMPION in one.aliases,
            "verdict": one.tags.get(VERDICT_TAG, ""),
            "created": datetime.fromtimestamp(one.created, UTC).isoformat(timespec="seconds"),
            **_test_metrics(tracking.run_metrics(one.run_id)),
            "run_id": one.run_id,
        }
        for one in tracking.versions()
    ]
    refused = [
        {"run_id": run["run_id"], **_test_metrics(run["metrics"]), "reason": run["reason"]}
        for run in tracking.refused_runs()
    ]
    if as_json:
        print(json.dumps({"versions": versions, "refused": refused}, indent=2))
        return
    if not versions:
        print("No version is registered yet. `cracks train` makes the first one.")
    shown = [row | {"champion": "champion" if row["champion"] else ""} for row in versions]
    print_table(shown, "Versions", standard_output=True)
    print_table(refused, "Refused challengers", standard_output=True)


def _test_metrics(metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "test_accuracy": metrics.get("test.accuracy"),
        "crack_recall": metrics.get("test.recall"),
    }
