"""`cracks inspect`: find the cracks on whole photographs, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracks.errors import DataError
from cracks.inference.photos.overlap import MAX_OVERLAP, OVERLAP
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from cracks.inference.handover.champion import Champion


def inspect(
    context: typer.Context,
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO...", help="Photographs, folders, or s3://BUCKET/PREFIX."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for pictures and report.")],
    mm_per_px: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1000, help="Millimetres that a pixel shows, for sizes."),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(min=0, max=MAX_OVERLAP, help="Share of a patch that neighbours have too."),
    ] = OVERLAP,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show where the cracks are on whole photographs: a picture and a table each, and a report.

    Photographs that cannot be read are listed, and a second call does only what is missing.

    Example: `cracks inspect pier-3.jpg abutments/ --out inspection --mm-per-px 0.5`.
    """
    from cracks.cluster.dispatch import inspect_files
    from cracks.images.files import find_images
    from cracks.inference.handover.champion import open_champion
    from cracks.inference.photos.inspection_folder import PHOTOS, InspectionFolder
    from cracks.system.console import progress

    champion, bundle = open_champion(open_workspace(context.obj).service)
    files = find_images(photos, without=out / PHOTOS)
    folder = InspectionFolder(out, champion, overlap, mm_per_px)
    with folder.opened():
        unreadable: list[dict[str, str]] = []
        missing = folder.missing(files)
        try:
            if missing:
                with progress(len(missing), "inspecting", "photographs") as advance:
                    unreadable.extend(inspect_files(bundle, folder, files, missing, advance))
        finally:
            inspected = folder.write_report(files, unreadable)
    summary = _summary(out, inspected, unreadable, champion)
    _tell(summary, as_json)
    if not inspected:
        raise DataError(f"No photograph could be read. {summary['unreadable_list']} says why.")


def _summary(
    out: Path,
    inspected: list[dict[str, Any]],
    unreadable: list[dict[str, str]],
    champion: Champion,
) -> dict[str, Any]:
    from cracks.dataset.labels import CRACK
    from cracks.inference.photos.inspection_folder import REPORT, UNREADABLE

    wanted = ("file", "label", "score", "crack_share", "crack_area_cm2", "novel", "prediction_id")
    return {
        "report": str(out / REPORT),
        "photographs": len(inspected),
        "cracked": sum(one["label"] == CRACK for one in inspected),
        "unreadable": len(unreadable),
        "unreadable_list": str(out / UNREADABLE) if unreadable else None,
        "model_version": champion.version,
        "run_id": champion.run_id,
        "inspections": [
            {name: one[name] for name in wanted} | {"folder": str(out / one["folder"])}
            for one in inspected
        ],
    }


def _tell(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    print(
        f"{summary['report']}: cracks on {summary['cracked']:,} of {summary['photographs']:,} "
        f"photographs, says version {summary['model_version']}."
    )
    if summary["unreadable"]:
        print(f"{summary['unreadable']:,} × cannot be read: see {summary['unreadable_list']}.")
