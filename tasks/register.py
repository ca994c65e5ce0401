"""register: record the training in MLflow, judge it, and make it a version if accepted."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cracks.bundle import Bundle, open_bundle
from cracks.classifier import Classifier
from cracks.digests import digest_of_value
from cracks.gate import Decision, decide
from cracks.images import decode_to_size
from cracks.metrics import measure
from cracks.modelcard import describe_version
from cracks.params import Params
from cracks.paths import STAGES, Paths
from cracks.reports import Report, flatten, read_report
from cracks.scored import ScoredPatches, scored_patches
from cracks.tables import read_table
from cracks.tracking import (
    BUNDLE_TAG,
    REASON_TAG,
    VERDICT_TAG,
    ModelVersion,
    Tracking,
    TrainingRecord,
)
from cracks.versioning import code_version, output_digest, pipeline_digest

#: Tag of a run: a digest of what its verdict was reached from.
JUDGED_TAG = "verdict.inputs"

#: Patches in the input example that is kept beside the model.
EXAMPLE_PATCHES = 2


def register(params: Params, paths: Paths) -> Report:
    """Judge the trained model; a refusal is a result with its reasons, not an error.

    Running it again with nothing new writes nothing and returns the same answer.

    Raises:
        TrackingError: MLflow refused; TrackingUnavailable: it cannot be reached.
    """
    tracking = Tracking(paths, params.register_.model_name)
    bundle = open_bundle(paths.bundle)
    run_id = tracking.run_of_bundle(bundle.digest)
    if run_id is None:
        run_id = tracking.log_training(_record(params, paths, bundle))
    champion = tracking.champion()
    if champion and champion.run_id == run_id:
        return _report("unchanged", ["this very model is the champion"], run_id, champion)
    inputs = digest_of_value(
        [champion and champion.version, params.register_.model_dump(), bundle.digest]
    )
    tags = tracking.run_tags(run_id)
    if tags.get(JUDGED_TAG) == inputs and tags[VERDICT_TAG] == "refused":
        return _report("refused", tags[REASON_TAG].split("; "), run_id, None)
    decision = _judge(params, paths, tracking, champion)
    reason = "; ".join(decision.reasons)
    verdict = {VERDICT_TAG: decision.verdict, REASON_TAG: reason}
    version = None
    if decision.accepted:
        metrics = read_report(paths.report("evaluate"))
        description = describe_version(metrics, decision, read_report(paths.report("ingest")))
        version = tracking.register(run_id, {**tags_of_code(paths, bundle), **verdict}, description)
    tracking.tag_run(run_id, {**verdict, JUDGED_TAG: inputs})
    return _report(decision.verdict, decision.reasons, run_id, version, decision.comparison)


def tags_of_code(paths: Paths, bundle: Bundle) -> dict[str, str]:
    """Return the tags that lead from a run or version back to its code, data and bundle."""
    code = code_version(paths.root)
    return {
        "git.commit": code.commit,
        "git.dirty": str(code.dirty).lower(),
        "dvc.lock.sha256": pipeline_digest(paths),
        "data.digest": output_digest(paths, "ingest", "data/images"),
        BUNDLE_TAG: bundle.digest,
    }


def _judge(
    params: Params, paths: Paths, tracking: Tracking, champion: ModelVersion | None
) -> Decision:
    challenger = read_report(paths.report("evaluate"))["test"]
    if champion is None:
        return decide(challenger, None, params.register_)
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        bundle = open_bundle(tracking.download_bundle(champion.run_id, Path(folder)))
        measured = _measured_today(bundle, scored_patches(paths, "test"))
    return decide(challenger, measured, params.register_)


def _measured_today(bundle: Bundle, test: ScoredPatches) -> dict[str, Any]:
    """Score the champion on today's test patches: its own old numbers are of other data."""
    scores = Classifier(bundle).scores(test.contents)
    return measure(test.cracked, scores, bundle.content.threshold)


def _record(params: Params, paths: Paths, bundle: Bundle) -> TrainingRecord:
    reports = {stage: read_report(paths.report(stage)) for stage in STAGES}
    metrics = flatten(reports["evaluate"]) | flatten(
        {stage: reports[stage] for stage in ("ingest", "split", "train", "export")}
    )
    test = scored_patches(paths, "test")
    size = params.ingest.patch_size
    return TrainingRecord(
        name=_name(params, bundle),
        params=_flat(params.model_dump(by_alias=True)),
        history=_numbers(paths.history),
        resources={stage: _numbers(paths.resources(stage)) for stage in STAGES},
        metrics=metrics,
        tags={
            "architecture": params.featurize.architecture,
            "mode": params.mode,
            "precision": params.featurize.precision,
            **tags_of_code(paths, bundle),
        },
        files=[
            paths.params,
            paths.pipeline,
            paths.pipeline_lock,
            paths.summary,
            paths.classification_report,
            paths.data_card,
            paths.label_errors,
            paths.slices,
            paths.behaviour,
            *(paths.report(stage) for stage in STAGES),
        ],
        figures=[
            figure
            for stage in ("ingest", "split", "train", "evaluate")
            for figure in sorted(paths.figures(stage).glob("*.png"))
        ],
        bundle=bundle.folder,
        model=paths.classifier,
        example=np.stack([decode_to_size(c, size) for c in test.contents[:EXAMPLE_PATCHES]]),
        manifest=read_table(paths.manifest).to_pandas(),
        data_digest=output_digest(paths, "ingest", "data/images"),
        data_source=str(reports["ingest"]["source"]),
    )


def _numbers(file: Path) -> list[dict[str, float]]:
    """Return the rows of a CSV of numbers; none, if the stage was not run on this machine."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def _name(params: Params, bundle: Bundle) -> str:
    """Return a name that tells runs apart in a list."""
    section = params.featurize
    return f"{section.architecture}-{section.image_size}px-{params.mode}-{bundle.digest[:8]}"


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _report(
    verdict: str,
    reasons: list[str],
    run_id: str,
    version: ModelVersion | None,
    comparison: list[dict[str, Any]] | None = None,
) -> Report:
    return {
        "verdict": verdict,
        "reasons": reasons,
        "run_id": run_id,
        "version": version.version if version else None,
        "comparison": comparison or [],
    }
