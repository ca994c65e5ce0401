"""`cracks rollback`: put an earlier champion back into service."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.promote import show
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import open_workspace


def rollback(
    context: typer.Context,
    why: Annotated[str, typer.Option("--why", help="What is wrong with the present champion.")],
    version: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="Default: the champion before this one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put the previous champion back into service, in seconds.

    It is the same transaction as a promotion, with the same checks of the bundle, and the ledger
    keeps the reason. `cracks models --history` shows what was in service when.

    Examples: `cracks rollback --why "misses hairline cracks on site 14"`,
    `cracks rollback --to 2 --why "last one before the new camera"`.
    """
    from tasks.promote import rollback as roll_back

    paths = open_workspace(context.obj)
    number = version.removeprefix("v") if version else None
    show(roll_back(load_params(paths.params), paths, number, why=why), as_json)
