"""`cracks predict`: answer for images with the champion's bundle, without a server."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cracks.paths import open_workspace
from cracks.terminal import print_table


def predict(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG or PNG files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Say `crack` or `no crack` for each image, with its score.

    Example: `cracks predict column-07.jpg column-08.jpg --json`.
    """
    from cracks.classifier import Classifier
    from cracks.handover import open_champion
    from cracks.prediction_ids import prediction_id

    champion, bundle = open_champion(open_workspace(context.obj).service)
    contents = [_read(image) for image in images]
    answers = Classifier(bundle).answers(contents, [str(image) for image in images])
    rows = [
        {"file": str(image), **asdict(answer), "model_version": champion.version}
        for image, answer in zip(images, answers, strict=True)
    ]
    if as_json:
        now = datetime.now(UTC)
        traced = [
            row
            | {
                "run_id": champion.run_id,
                "prediction_id": str(prediction_id(champion, content, now)),
            }
            for row, content in zip(rows, contents, strict=True)
        ]
        print(json.dumps(traced, indent=2))
    else:
        print_table(rows, "Answers", standard_output=True)


def _read(image: Path) -> bytes:
    from cracks.errors import UnreadableImage

    try:
        return image.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{image} cannot be read: {error.strerror}") from None
