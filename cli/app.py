"""The verbs of `cracks` put together, and the options that all of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.data import data
from cli.feedback import feedback
from cli.inspect import inspect
from cli.keys import keys
from cli.models import models
from cli.predict import predict
from cli.promote import promote
from cli.restore import restore
from cli.rollback import rollback
from cli.serve import serve
from cli.sweep import sweep
from cli.trace import trace
from cli.train import train
from cracks.system.environment import apply_environment_defaults

app = typer.Typer(
    help="Train, evaluate, promote and serve a concrete-crack classifier.\n\n"
    "Start with `cracks train`, then `cracks predict IMAGE`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    train,
    sweep,
    predict,
    inspect,
    serve,
    feedback,
    data,
    models,
    promote,
    rollback,
    trace,
    restore,
):
    app.command()(command)
app.add_typer(keys, name="keys")


@app.callback()
def choose_workspace(
    context: typer.Context,
    workspace: Annotated[
        Path,
        typer.Option("-C", metavar="DIR", help="The workspace: a checkout of this project."),
    ] = Path(),
) -> None:
    """Remember the workspace for the verb."""
    apply_environment_defaults()
    context.obj = workspace
