"""`cracks train`: run the training flow in a workspace."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracks.errors import CracksError
from cracks.system.console import show_log
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from flows.training_result import TrainingResult


def train(
    context: typer.Context,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "-S",
            metavar="KEY=VALUE",
            help="Write a key of params.yaml first, as `-S train.epochs=20`. May be repeated.",
        ),
    ] = None,
    accept_relabels: Annotated[
        bool,
        typer.Option(
            "--accept-relabels", help="Let stored photographs change their label this time."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring every stage up to date, evaluate the model, and promote it if it is good enough.

    What has not changed is not done again. A refused model is a result: exit code 0, the reasons
    on the terminal, in MLflow and in Prefect. Without PREFECT_API_URL the flow starts a Prefect
    server of its own for as long as it runs.

    Examples: `cracks train`, `cracks train -S ingest.source=photos.zip -S train.epochs=20`,
    `cracks train -S 'ingest.source=[mendeley, s3://inspections/2026-11]'`.
    """
    paths = open_workspace(context.obj)
    set_params(paths.params, assignments or [])
    _show_progress()
    result = _run_flow(str(paths.root), accept_relabels)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print(_in_words(result))


def _show_progress() -> None:
    # Prefect reads its settings when it is imported; on the terminal its lines would only repeat
    # the flow's, and the one line of a refusal. They are kept for the Prefect UI.
    for handler in ("CONSOLE", "DEBUG"):
        os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    show_log()


def _run_flow(workspace: str, accept_relabels: bool) -> TrainingResult:
    from flows.server import prefect_server
    from flows.training import training

    with prefect_server():
        state: Any = training(workspace, accept_relabels, return_state=True)
    if not state.is_completed() and isinstance(state.data, CracksError):
        raise state.data
    result: TrainingResult = state.result()
    return result


def _in_words(result: TrainingResult) -> str:
    test = result["metrics"]
    numbers = f"test accuracy {test['accuracy']:.4f}, crack recall {test['recall']:.4f}"
    reasons = "; ".join(result["reasons"])
    if result["promoted"]:
        return f"Version {result['version']} is the champion ({numbers}): {reasons}."
    if result["action"] == "ask":
        return (
            f"Version {result['version']} waits for your word ({numbers}): {reasons}. Look at it "
            f'in MLflow, then `cracks promote {result["version"]} --why "…"`.'
        )
    if result["action"] == "register":
        return f"Version {result['version']} is registered, not promoted ({numbers}): {reasons}."
    return (
        f"Refused ({numbers}): {reasons}. The champion stays; see run {result['run_id']} in MLflow."
    )
