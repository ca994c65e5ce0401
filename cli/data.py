"""`cracks data`: the sites of the data set, and how their photographs are known."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cracks.system.console import print_table
from cracks.workspace.paths import open_workspace
from cracks.workspace.reports import read_report
from cracks.workspace.stage_reports import IngestReport


def data(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """List the sites: photographs, patches, cracks, splits, and how the photographs are known.

    A photograph is known by `photos.csv` in its source, by a folder, by a name such as
    `IMG_0012_03.jpg`, by the camera and time in EXIF, or as a run in a numbered sequence.
    docs/data.md says how to name photographs, and what it changes.
    """
    from cracks.dataset.photos.site_table import SITE_COLUMNS, SPLIT_COLUMNS, site_rows
    from cracks.workspace.tables import read_table

    paths = open_workspace(context.obj)
    photos = read_report(paths.report("ingest"), IngestReport)["photos"]
    manifest = read_table(paths.manifest, SITE_COLUMNS).to_pandas()
    splits = read_table(paths.splits, SPLIT_COLUMNS).to_pandas() if paths.splits.is_file() else None
    rows = site_rows(manifest, splits)
    if as_json:
        print(json.dumps({**photos, "sites": rows}, indent=2, ensure_ascii=False))
        return
    print_table(rows, "Sites", standard_output=True)
    print(
        f"{photos['photographs']:,} photographs are known, of {photos['photographs_known']:.1%} of "
        "the patches."
    )
    for photo, why in photos["doubted"].items():
        print(f"Not taken for one photograph: {photo}: {why}.")
    for photo, times in photos["mixed"].items():
        print(f"Patches that differ {times:g} times as much as usual: {photo}.")
