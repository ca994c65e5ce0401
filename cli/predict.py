"""`cracks predict`: predict for images with the champion's bundle, without a server."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracks.errors import UnreadableImage
from cracks.system.console import print_table
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from cracks.inference.bundle.classifier import Prediction
    from cracks.system.console import Advance


def predict(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image files, folders, or s3://BUCKET/PREFIX."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PLACE", help="Write Parquet: one file NAME.parquet, or a folder of shards."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the predictions as JSON.")] = False,
) -> None:
    """Say `crack` or `no crack` for each image, with its score.

    With `--out` any number of images is predicted, those that cannot be read are listed, and a
    second call does only what is missing.

    Examples: `cracks predict column-07.jpg column-08.jpg --json`,
    `cracks predict photos/ --out predictions.parquet`.
    """
    if out is not None:
        _predict_all(context, images, out, as_json)
    elif many := next((image for image in images if _holds_many(image)), None):
        raise typer.BadParameter(f"{many} may hold many images: add --out, where predictions go.")
    else:
        _predict_few(context, images, as_json)


def _holds_many(image: str) -> bool:
    from cracks.storage.addresses import is_in_bucket

    return is_in_bucket(image) or Path(image).is_dir()


def _predict_few(context: typer.Context, images: list[str], as_json: bool) -> None:
    """Predict for single files; one that cannot be read is refused, with all others."""
    from cracks.inference.bundle.classifier import Classifier
    from cracks.inference.handover.champion import open_champion
    from cracks.inference.handover.prediction_id import prediction_id
    from cracks.system.hashing import digest_of_bytes

    champion, bundle = open_champion(open_workspace(context.obj).service)
    contents = [_read(image) for image in images]
    predictions = Classifier(bundle).predict(contents, images)
    rows = [
        {"file": image, **_shown(prediction), "model_version": champion.version}
        for image, prediction in zip(images, predictions, strict=True)
    ]
    if as_json:
        now = datetime.now(UTC)
        traced = [
            row
            | {
                "run_id": champion.run_id,
                "prediction_id": str(prediction_id(champion, digest_of_bytes(content), now)),
            }
            for row, content in zip(rows, contents, strict=True)
        ]
        print(json.dumps(traced, indent=2))
    else:
        print_table(rows, "Predictions", standard_output=True)


def _shown(prediction: Prediction) -> dict[str, Any]:
    """Return what a person wants to know of a prediction."""
    wanted = ("label", "score", "threshold", "novelty", "novel")
    return {name: getattr(prediction, name) for name in wanted}


def _predict_all(context: typer.Context, images: list[str], out: Path, as_json: bool) -> None:
    """Predict for any number of images, and write the predictions as Parquet."""
    from cracks.cluster.dispatch import predict_files, refuse_if_nothing_was_readable
    from cracks.system.console import progress

    def showing(total: int) -> AbstractContextManager[Advance]:
        return progress(total, "predicting", "images")

    summary = predict_files(open_workspace(context.obj).service, images, out, showing)
    _tell(summary, as_json)
    refuse_if_nothing_was_readable(summary)


def _tell(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    novel = "" if summary["novel"] is None else f", {summary['novel']:,} × unlike the training data"
    print(
        f"{summary['out']}: {summary['answers']:,} × predicted by version "
        f"{summary['model_version']}, {summary['answered_now']:,} × now; "
        f"{summary['cracks']:,} × crack{novel}."
    )
    if summary["unreadable"]:
        print(f"{summary['unreadable']:,} × cannot be read: see {summary['unreadable_list']}.")


def _read(image: str) -> bytes:
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{image} cannot be read: {error.strerror}") from None
