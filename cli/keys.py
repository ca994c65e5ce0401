"""`cracks keys`: the API keys of the service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cracks.system.console import print_table
from cracks.workspace.paths import open_workspace

keys = typer.Typer(
    help="Make, list and revoke the API keys of the service.\n\n"
    "A running service applies a change at once.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@keys.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is: ann, site-7.")],
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it; it is shown this once only.

    Example: `KEY=$(cracks keys create ann)`, then `curl -H "X-API-Key: $KEY" …`.
    """
    from serving.middleware.api_keys import create_key

    key = create_key(_file(context), name)
    print(json.dumps({"name": name, "key": key}) if as_json else key)
    if sys.stderr.isatty():
        print("Copy it now: only its digest is kept.", file=sys.stderr)


@keys.command(name="list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys by name, with their last characters; the keys themselves are not kept."""
    from serving.middleware.api_keys import read_keys

    rows = [one.model_dump(exclude={"digest"}) for one in read_keys(_file(context))]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("There is no key yet. `cracks keys create NAME` makes one.")
    shown = [row | {"ending": f"…{row['ending']}"} for row in rows]
    print_table(shown, "Keys", standard_output=True)


@keys.command()
def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
) -> None:
    """Let a key be refused from now on."""
    from serving.middleware.api_keys import revoke_key

    revoke_key(_file(context), name)
    print(f"The key {name} is refused from now on.")


def _file(context: typer.Context) -> Path:
    from serving.settings import settings_of

    return settings_of(open_workspace(context.obj).service).keys
