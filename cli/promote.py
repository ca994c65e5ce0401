"""`cracks promote`: put a registered version into service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cracks.workspace.params_file import load_params
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from cracks.registry.promotion.transaction import PromotionReport


def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="As `3` or `v3`; `cracks models` lists them.")],
    why: Annotated[
        str, typer.Option("--why", help="For the ledger; else the reason that the gate gave.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put a version into service; the champion before it is kept for a rollback.

    The bundle is checked and tried before anything changes, the running service takes it without
    losing a request, and the ledger keeps who did it and why. Where a step fails, the old champion
    stays. This is also how a person approves a model that the gate left undecided.

    Examples: `cracks promote 4`, `cracks promote 4 --why "looked at every mistake"`.
    """
    from tasks.promote import promote as promote_version

    paths = open_workspace(context.obj)
    result = promote_version(load_params(paths.params), paths, version.removeprefix("v"), why=why)
    show(result, as_json)


def show(result: PromotionReport, as_json: bool) -> None:
    """Print what a promotion or a rollback has done."""
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print(_in_words(result))


def _in_words(result: PromotionReport) -> str:
    """Return in one line which version is in service now."""
    if not result["changed"]:
        return f"Version {result['version']} is the champion already."
    before = f", in place of version {result['previous']}" if result["previous"] else ""
    running = len(result["processes"])
    served = {
        0: "no service is running; `cracks serve` starts one",
        1: "the service has loaded it",
    }.get(running, f"{running} service processes have loaded it")
    return f"Version {result['version']} is the champion{before}: {served}."
