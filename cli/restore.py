"""`cracks restore`: rebuild the workspace of a model version, and evaluate there again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cracks.system.console import print_table, show_log
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import open_workspace


def restore(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As `3` or `v3`.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Rebuild the workspace of a version in DIR, evaluate it again, and compare the numbers.

    Code comes from git, parameters and dvc.lock from the version's run, data and models from DVC.
    Exit code 0 if every number is the recorded one; 1, with a table, if not.

    Example: `cracks restore 1 ../version-1`.
    """
    from cracks.registry.lineage.restore import restore as rebuild
    from cracks.registry.mlflow_store.tracking import Tracking

    show_log()
    paths = open_workspace(context.obj)
    tracking = Tracking(paths, load_params(paths.params).register_.model_name)
    done = rebuild(version.removeprefix("v"), folder, tracking, paths)
    if as_json:
        document = asdict(done) | {"folder": str(done.folder), "equal": not done.differences}
        print(json.dumps(document, indent=2))
    else:
        rows = [asdict(one) for one in done.differences]
        print_table(rows, "Other numbers than the run recorded", standard_output=True)
    if done.differences:
        sys.exit(
            f"error: Version {done.version} is in {done.folder}, but {len(done.differences)} of "
            f"{done.compared} numbers are not equal to those of run {done.run_id}."
        )
    if not as_json:
        print(
            f"Version {done.version} is in {done.folder}: {done.compared} numbers, all equal to "
            f"those of run {done.run_id}."
        )
