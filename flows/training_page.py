"""Tell a training on one page of Markdown: verdict, data, validation, metrics, pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from cracks.inference.handover.training_summaries import TrainingRun
from cracks.registry.gate import Decision
from cracks.registry.model_card import (
    comparison_table,
    evidence,
    limits_table,
    metrics_table,
    reliability,
)
from cracks.system.templates import render
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import StageReports
from flows.training_result import TrainingResult

#: The pictures of each chapter, by stage and name; what was not drawn is left out.
PICTURES = {
    "data": (("ingest", "examples"), ("split", "nearest_pairs")),
    "training": (("train", "learning_curves"),),
    "predictions": (
        ("evaluate", "confusion"),
        ("evaluate", "calibration"),
        ("evaluate", "slices"),
        ("evaluate", "mistakes"),
        ("evaluate", "occlusion"),
        ("evaluate", "novelty"),
    ),
}

#: Pixels that a picture is wide at most, and the quality of its JPEG: a page stays below 1 MB.
WIDEST, QUALITY = 900, 82

HEADLINES = {
    "promoted": "Version {version} is in service now",
    "unchanged": "Nothing new: version {version} stays in service",
    "waiting": "Version {version} waits for a person’s word",
    "registered": "Version {version} is registered, not promoted",
    "refused": "Refused: the champion stays",
    "failed": "The run failed",
}

Pictures = Mapping[str, Sequence[tuple[str, str]]]


def story(
    run: TrainingRun, reports: StageReports, result: TrainingResult | None, pictures: Pictures
) -> str:
    """Return the page.

    Args:
        run: how it ended.
        reports: by stage, those of the stages that the run brought up to date.
        result: what the flow returns; None where it failed.
        pictures: by chapter, (title, address) of each.
    """
    page = render(
        "flows/training_page.md.jinja",
        headline=HEADLINES[run.outcome].format(version=run.version),
        run=run,
        ran=[stage for stage, state in run.stages.items() if state == "ran"],
        reports=reports,
        decision=_decision(result) if result is not None else None,
        pictures=pictures,
        metrics_table=metrics_table,
        evidence=evidence,
        reliability=reliability,
        comparison_table=comparison_table,
        limits_table=limits_table,
    )
    return page + "\n"


def pictures_of(paths: Paths, stages: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the pictures of the stages, each with its bytes in its address."""
    return {
        chapter: [
            (name.replace("_", " "), as_address(file))
            for stage, name in wanted
            if stage in stages and (file := paths.figures(stage) / f"{name}.png").is_file()
        ]
        for chapter, wanted in PICTURES.items()
    }


def as_address(figure: Path) -> str:
    """Return a picture as a `data:` address, made small enough for a page of many."""
    with Image.open(figure) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDEST, WIDEST))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _decision(result: TrainingResult) -> Decision:
    return Decision(
        result["verdict"],
        result["action"],
        result["reasons"],
        result["comparison"],
        result["limits"],
    )
