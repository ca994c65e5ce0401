"""`cracks trace`: follow a prediction, version or run to its data, and an image to its models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cracks.errors import TrackingError
from cracks.system.console import print_table
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from cracks.registry.lineage.chain import Chain
    from cracks.registry.lineage.trace import ImageTrace

#: Characters of the column with the names of the links.
NAME_WIDTH = 10


def trace(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A prediction id, a version (3 or v3), a run id, an image file, or the SHA-256 of "
            "an image or its first 12 digits or more.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what is found as JSON.")] = False,
) -> None:
    """Follow a prediction, version or run link by link to its data; an image to every version.

    Each link is checked against the next: the bundle's digest, dvc.lock, the data in it, the
    commit. A broken one is named, with exit code 1. Images are known by their bytes. What was
    predicted is read from the prediction log, if it is there (CRACKS_SERVE_ANSWERS).

    Examples: `cracks trace v3`, `cracks trace column-07.jpg`,
    `cracks trace v3-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z`.
    """
    from cracks.registry.lineage.trace import ImageTrace, as_document
    from cracks.registry.lineage.trace import trace as find
    from cracks.registry.mlflow_store.tracking import Tracking

    paths = open_workspace(context.obj)
    tracking = Tracking(paths, load_params(paths.params).register_.model_name)
    found = find(what, tracking, paths.root)
    if as_json:
        print(json.dumps(as_document(what, found), indent=2))
    elif isinstance(found, ImageTrace):
        _print_uses(found)
    else:
        _print_chain(found)
    if not isinstance(found, ImageTrace) and found.broken:
        raise TrackingError(f"The chain is broken at {'; '.join(found.broken)}.")


def _print_chain(chain: Chain) -> None:
    for number, link in enumerate(chain.links):
        arrow = "└► " if number else "   "
        print(f"{arrow}{link.name:<{NAME_WIDTH}}{link.value}".rstrip())
        indent = " " * (NAME_WIDTH + 3)
        if link.says and not link.broken:
            print(indent + link.says)
        for reason in link.broken:
            print(f"{indent}BROKEN: {reason}")


def _print_uses(image: ImageTrace) -> None:
    print(f"image {image.id}")
    rows = [
        {
            "version": use.version,
            "alias": ", ".join(use.aliases),
            "split": use.split,
            "label": use.patch.label if use.patch else "",
            "group": use.patch.group[:12] if use.patch else "",
            "file": "; ".join(use.patch.files) if use.patch else "",
        }
        for use in image.uses
    ]
    print_table(rows, "What each version had to do with it", standard_output=True)
