"""`cracks feedback`: labels for predicted images; and labelled images as a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracks.errors import FeedbackError
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from cracks.monitoring.feedback.source_export import ExportedSource


def feedback(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A CSV with the columns prediction_id and label, and by and note if you like.",
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Who labelled, if the file has no `by`.")] = "",
    export_source: Annotated[
        Path | None,
        typer.Option(
            "--export-source",
            metavar="FOLDER",
            help="Write the labelled images, in Positive/ and Negative/, for `ingest.source`.",
        ),
    ] = None,
    originals: Annotated[
        Path | None,
        typer.Option(
            "--originals",
            metavar="FOLDER",
            help="Where the images are that were sent, under any names: they are known by their "
            "bytes. Not needed where the service keeps images (CRACKS_SERVE_KEEP_IMAGES).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Say what was really on predicted images, and make a source of photographs of them.

    Without anything it tells how right the service was. Nothing is learned from feedback by itself:
    export it, look at it, and name the folder in `ingest.source`.

    Examples: `cracks feedback checked.csv --by ann`,
    `cracks feedback --export-source labelled --originals sent`, then
    `cracks train -S 'ingest.source=[mendeley, labelled]'`.
    """
    paths = open_workspace(context.obj)
    if file and export_source:
        raise FeedbackError("Take the file in first, then export: two calls.")
    if file:
        _take(paths.service, file, by, as_json)
    elif export_source:
        from cracks.monitoring.feedback.source_export import export_as_source

        exported = export_as_source(paths, export_source, originals)
        print(json.dumps(exported.as_document(), indent=2) if as_json else _said(exported))
    else:
        _tell(paths.service, as_json)


def _take(service: Path, file: Path, by: str, as_json: bool) -> None:
    from cracks.monitoring.feedback.csv_import import take_file

    done = take_file(service, file, by)
    if as_json:
        print(json.dumps({"taken": done.counts, "refused": done.refused}, indent=2))
    else:
        counts = ", ".join(f"{count:,} {status}" for status, count in done.counts.items())
        print(f"{file}: {counts or 'nothing new'}")
    if done.refused:
        first = done.refused[0]
        raise FeedbackError(
            f"{len(done.refused):,} lines of {file} are not kept, the others are; line "
            f"{first['line']}: {first['why']}"
        )


def _tell(service: Path, as_json: bool) -> None:
    from datetime import UTC, datetime

    from cracks.monitoring.feedback.live_accuracy import measure_live
    from cracks.monitoring.feedback.record import FeedbackRecord

    found = measure_live(FeedbackRecord.beside(service).everything(), datetime.now(UTC))
    document: dict[str, Any] = found.model_dump(mode="json")
    if as_json:
        print(json.dumps(document, indent=2))
        return
    if not found.labelled:
        print("No prediction has a label yet. `cracks feedback FILE.csv` records labels.")
        return
    versions = ", ".join(found.model_versions)
    print(f"{found.labelled:,} predictions with labels, of version {versions}")
    for name in ("accuracy", "crack_recall", "false_alarms", "ece"):
        one = getattr(found, name)
        if one.rate is not None:
            print(f"{name.replace('_', ' '):<13}{one.rate:.4f}  ({one.low:.4f} to {one.high:.4f})")


def _said(exported: ExportedSource) -> str:
    left_out = "".join(f"\n  {count:,} {why}" for why, count in exported.left_out.items() if count)
    return (
        f"{exported.folder}: {exported.cracked:,} cracked and {exported.clean:,} clean photographs"
        + (f"; left out:{left_out}" if left_out else "")
        + "\nLook at them, then name the folder in `ingest.source`."
    )
