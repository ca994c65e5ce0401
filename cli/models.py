"""`cracks models`: the versions in the registry, the refused challengers, and the ledger."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracks.errors import TrackingError, TrackingUnavailable
from cracks.system.console import print_table
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from cracks.registry.mlflow_store.tracking import Tracking


def models(
    context: typer.Context,
    history: Annotated[
        bool,
        typer.Option("--history", help="List instead who made which version champion, and why."),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Look instead for alterations; exit 1 if there are any."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List the model versions, which of them is the champion, and what was refused and why.

    `--verify` compares the ledger with its own hashes, with the aliases and tags in MLflow, and
    with what the service folder names.
    """
    if history and verify:
        raise typer.BadParameter("give either --history or --verify.")
    from cracks.registry.mlflow_store.tracking import Tracking

    paths = open_workspace(context.obj)
    tracking = Tracking(paths, load_params(paths.params).register_.model_name)
    if history:
        _show_history(tracking, as_json)
    elif verify:
        _show_audit(tracking, paths.service, as_json)
    else:
        _show_versions(tracking, as_json)


def _show_versions(tracking: Tracking, as_json: bool) -> None:
    from cracks.registry.mlflow_store.model_versions import CHAMPION, PREVIOUS
    from cracks.registry.tags import VERDICT_TAG

    versions = [
        {
            "version": one.version,
            "champion": CHAMPION in one.aliases,
            "previous": PREVIOUS in one.aliases,
            "verdict": one.tags.get(VERDICT_TAG, ""),
            "created": datetime.fromtimestamp(one.created, UTC).isoformat(timespec="seconds"),
            **_test_metrics(_metrics_of(tracking, one.run_id)),
            "run_id": one.run_id,
        }
        for one in tracking.registry.versions()
    ]
    refused = [
        {"run_id": run["run_id"], **_test_metrics(run["metrics"]), "reason": run["reason"]}
        for run in tracking.runs.refused()
    ]
    if as_json:
        print(json.dumps({"versions": versions, "refused": refused}, indent=2))
        return
    if not versions:
        print("No version is registered yet. `cracks train` makes the first one.")
    print_table([_shown(row) for row in versions], "Versions", standard_output=True)
    print_table(refused, "Refused challengers", standard_output=True)


def _metrics_of(tracking: Tracking, run_id: str) -> dict[str, float]:
    try:
        return tracking.runs.metrics(run_id)
    except TrackingUnavailable:
        raise
    except TrackingError:
        return {}  # the run was deleted for good, which must not hide the other versions


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    named = "champion" if row["champion"] else "previous" if row["previous"] else ""
    kept = {key: value for key, value in row.items() if key != "previous"}
    return kept | {"champion": named}


def _test_metrics(metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "test_accuracy": metrics.get("test.accuracy"),
        "crack_recall": metrics.get("test.recall"),
    }


def _show_history(tracking: Tracking, as_json: bool) -> None:
    from cracks.registry.ledger import readable
    from cracks.registry.promotion.audit import ledger_problems

    stored = tracking.ledger.stored()
    entries = readable(stored)[::-1]
    if as_json:
        written = [entry.model_dump() | {"hash": entry.hash} for entry in entries]
        print(json.dumps(written, indent=2))
    elif not entries:
        print("The ledger has no entry yet. `cracks promote VERSION` writes the first one.")
    rows = [
        {
            "number": entry.number,
            "when": entry.at,
            "who": entry.who,
            "what": entry.kind,
            "from → to": f"{entry.from_version or '–'} → {entry.to_version}",
            "verdict": entry.verdict,
            "why": entry.why,
        }
        for entry in entries
    ]
    if not as_json:
        print_table(rows, "History, the newest first", standard_output=True)
    if ledger_problems(stored):
        print("The ledger was altered: `cracks models --verify` says where.", file=sys.stderr)


def _show_audit(tracking: Tracking, service: Path, as_json: bool) -> None:
    from cracks.registry.promotion.audit import audit

    found = audit(tracking, service)
    if as_json:
        content = {
            "entries": len(found.entries),
            "champion": found.champion,
            "problems": found.problems,
        }
        print(json.dumps(content, indent=2))
    elif found.problems:
        print("\n".join(found.problems))
    else:
        count = len(found.entries)
        named = f"champion is version {found.champion}" if found.champion else "no champion yet"
        apart = "" if found.with_service else " (there is no service folder here to compare with)"
        print(f"{count} {'entry' if count == 1 else 'entries'}, unaltered; {named}{apart}")
    if found.problems:
        raise typer.Exit(1)
