"""Tell a training on one page of Markdown: verdict, data, validation, metrics, pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from cracks.inference.handover.training_summaries import TrainingRun
from cracks.registry.gate import Decision
from cracks.registry.model_card import comparison_table, limits_table, metrics_table, reliability
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import StageReports, TrainReport, ValidateReport
from flows.training_result import TrainingResult

#: The pictures of each chapter, by stage and name; what was not drawn is left out.
PICTURES = {
    "data": (("ingest", "examples"), ("split", "nearest_pairs")),
    "training": (("train", "learning_curves"),),
    "answers": (
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
    "promoted": "Version {version} answers from now on",
    "unchanged": "Nothing new: version {version} goes on answering",
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
    chapters = [_head(run)]
    if "ingest" in reports:
        chapters.append(_data(reports) + _shown(pictures, "data"))
    if "validate" in reports:
        chapters.append(_validation(reports["validate"]))
    if "train" in reports:
        chapters.append(_training(reports["train"]) + _shown(pictures, "training"))
    if "evaluate" in reports:
        evaluation = reports["evaluate"]
        chapters.append(
            f"## Metrics\n\nThreshold {evaluation['threshold']:.4f}, chosen on validation.\n\n"
            f"{metrics_table(evaluation)}\n\n{reliability(evaluation)}"
            + _shown(pictures, "answers")
        )
    if result is not None:
        chapters.append(_against_the_champion(result))
    return "\n\n".join(chapters) + "\n"


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


def _head(run: TrainingRun) -> str:
    reasons = "\n".join(f"- {one}" for one in run.reasons)
    facts = [
        ("Verdict", run.verdict),
        ("Started for", run.why),
        ("Flow run", run.name),
        ("Began, ended", f"{run.started}, {run.ended}"),
        ("MLflow run", run.run_id and f"`{run.run_id}`"),
        ("Stages that ran", ", ".join(k for k, v in run.stages.items() if v == "ran") or "none"),
    ]
    headline = HEADLINES[run.outcome].format(version=run.version)
    return f"# {headline}\n\n{reasons}\n\n{_table(facts)}"


def _data(reports: StageReports) -> str:
    ingested, split = reports["ingest"], reports.get("split")
    labels = ", ".join(f"{count:,} {label}" for label, count in ingested["labels"].items())
    facts = [
        ("Source", f"`{ingested['source']}`"),
        ("Patches", f"{ingested['patches']:,} ({labels})"),
        ("Distinct", f"{ingested['distinct_patches']:,}"),
        ("In quarantine", f"{ingested['quarantined']:,}"),
    ]
    if split:
        sides = (f"{sum(n.values()):,} {name}" for name, n in split["counts"].items())
        leakage = split["leakage"]["this_split"]["same_picture_in_train"]
        facts += [("Split", ", ".join(sides)), ("Test with a copy in train", f"{leakage:.1%}")]
    return f"## Data\n\n{_table(facts)}"


def _validation(report: ValidateReport) -> str:
    rows = report["expectations"]
    broken = [row for row in rows if not row["success"]]
    said = f"{len(rows) - len(broken)} of {len(rows)} expectations hold."
    lines = [
        f"| {_cell(row['name'])} | {row['severity']} | {_cell(row['observed'])} |" for row in broken
    ]
    head = "| broken | severity | observed |\n|---|---|---|\n"
    table = f"\n\n{head}" + "\n".join(lines) if broken else ""
    drift = ", ".join(f"{name} {value:.3f}" for name, value in report.get("drift", {}).items())
    compared = f"\n\nDrift from the data accepted before: {drift}." if drift else ""
    return f"## Validation\n\n{said}{table}{compared}"


def _training(report: TrainReport) -> str:
    facts = [
        ("Network", f"{report['architecture']}, {report['mode']}"),
        ("Trained parameters", f"{report['trained_parameters']:,} of {report['parameters']:,}"),
        ("Best epoch", f"{report['best_epoch']} of {report['epochs']}"),
        ("Validation loss", f"{report['best']['val_loss']:.5f}"),
    ]
    return f"## Training\n\n{_table(facts)}"


def _against_the_champion(result: TrainingResult) -> str:
    decision = Decision(
        result["verdict"],
        result["action"],
        result["reasons"],
        result["comparison"],
        result["limits"],
    )
    limits = f"\n\n### Limits\n\n{limits_table(decision)}" if decision.limits else ""
    return f"## Against the champion\n\n{comparison_table(decision)}{limits}"


def _shown(pictures: Pictures, chapter: str) -> str:
    return "".join(f"\n\n![{title}]({address})" for title, address in pictures.get(chapter, ()))


def _table(facts: Sequence[tuple[str, object]]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in facts if value]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
