"""register: record the training in MLflow, judge it, and make it a version if it may be one."""

from __future__ import annotations

import csv
import getpass
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.scored_patches import scored_patches
from cracks.evaluation.paired_comparison import Difference, compare
from cracks.images.decode import decode_to_size
from cracks.inference.bundle.bundle import Bundle, open_bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.registry.gate import SEPARATOR, Decision, check_limits, decide, limit_rows, numbers_of
from cracks.registry.lineage.chain import patches_table
from cracks.registry.mlflow_store.records import ModelVersion, TrainingRecord
from cracks.registry.mlflow_store.registered_bundle import fetch_bundle
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.mlflow_store.training_runs import PATCHES_ARTIFACT
from cracks.registry.model_card import describe_version
from cracks.registry.tags import (
    ACTION_TAG,
    BUNDLE_TAG,
    CAUSE_TAG,
    COMMIT_TAG,
    DATA_TAG,
    DIRTY_TAG,
    LEDGER_TAG,
    LOCK_TAG,
    PATCHES_TAG,
    REASON_TAG,
    VERDICT_TAG,
)
from cracks.system.hashing import digest_of_value
from cracks.versioning.dvc_stages import output_digest, pipeline_digest
from cracks.versioning.git_state import code_version
from cracks.workspace.params import Params
from cracks.workspace.paths import STAGES, Paths
from cracks.workspace.reports import Report, flatten, read_report
from cracks.workspace.tables import read_table

#: Tags of a run: a digest of what its verdict was reached from, and the comparison as JSON.
JUDGED_TAG = "verdict.inputs"
COMPARISON_TAG = "verdict.comparison"

#: Tags of a version: the run that trained it, who registered it, and when.
RUN_TAG, WHO_TAG, WHEN_TAG = "run.id", "registered.by", "registered.at"

#: The splits that a model has learned or chosen something from.
LEARNED_FROM = pa.array(["train", "validation"])

#: Patches in the input example that is kept with the model.
EXAMPLE_PATCHES = 2


def register(params: Params, paths: Paths) -> Report:
    """Judge the trained model; a refusal is a result with its reasons, not an error.

    Running it again with nothing new writes nothing and returns the same answer.

    Raises:
        ParamsError: a limit is set to a number that the reports do not have.
        TrackingError: MLflow refused; TrackingUnavailable: it cannot be reached.
    """
    tracking = Tracking(paths, params.register_.model_name)
    bundle = open_bundle(paths.bundle)
    numbers = numbers_of(_reports(paths), _slices(paths))
    limits = limit_rows(check_limits(numbers, params.register_.limits))
    known = tracking.runs.of_bundle(bundle.digest)
    run_id = known or tracking.runs.log(_record(params, paths, bundle))
    champion = tracking.registry.champion()
    if champion and champion.run_id == run_id:
        # Promoting it again changes nothing, and finishes what was interrupted.
        same = Decision("unchanged", "promote", ["this very model is the champion"], [], limits)
        return _report(same, run_id, champion, changed=False)
    version = tracking.registry.of_run(run_id)
    inputs = _inputs(params, bundle, champion, version, limits)
    decision = _earlier(tracking.runs.tags(run_id), inputs)
    changed = known is None
    if decision is None or (decision.action != "refuse" and version is None):
        changed = True
        differences = _differences(params, paths, tracking, champion)
        decision = _unless_replaced(decide(numbers, differences, params.register_), version)
        if version is not None:  # judged again, by other limits or against another champion
            tracking.registry.tag(version.version, _verdict_tags(decision))
        elif decision.action != "refuse":
            tags = _version_tags(decision, run_id, paths, bundle)
            card = describe_version(_reports(paths), _slices(paths), decision, tags)
            version = tracking.registry.register(run_id, tags, card)
        tracking.runs.tag(run_id, _verdict_tags(decision) | _kept(decision, inputs))
    decision = replace(decision, limits=limits)
    version = None if decision.action == "refuse" else version
    return _report(decision, run_id, version, changed=changed)


def record_cause(params: Params, paths: Paths, report: Report, cause: str) -> None:
    """Let the run, and the version that it became, say why they were trained.

    A model that was there before keeps what it said.

    Args:
        params: the model's name is of them.
        paths: of the workspace.
        report: what `register` returned.
        cause: in one line; empty where a person or the clock has started the training.

    Raises:
        TrackingError: MLflow refused; TrackingUnavailable: it cannot be reached.
    """
    if not cause:
        return
    tracking, run_id = Tracking(paths, params.register_.model_name), report["run_id"]
    if not report["changed"] or CAUSE_TAG in tracking.runs.tags(run_id):
        return
    tracking.runs.tag(run_id, {CAUSE_TAG: cause})
    if report["version"]:
        tracking.registry.tag(report["version"], {CAUSE_TAG: cause})


def tags_of_code(paths: Paths, bundle: Bundle) -> dict[str, str]:
    """Return the tags that lead from a run or version back to its code, data and bundle."""
    code = code_version(paths.root)
    return {
        COMMIT_TAG: code.commit,
        DIRTY_TAG: str(code.dirty).lower(),
        LOCK_TAG: pipeline_digest(paths),
        DATA_TAG: output_digest(paths, "ingest", "data/images"),
        BUNDLE_TAG: bundle.digest,
    }


def _reports(paths: Paths) -> dict[str, Report]:
    return {stage: read_report(paths.report(stage)) for stage in STAGES}


def _slices(paths: Paths) -> list[dict[str, str]]:
    with paths.slices.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _inputs(
    params: Params,
    bundle: Bundle,
    champion: ModelVersion | None,
    version: ModelVersion | None,
    limits: list[dict[str, Any]],
) -> str:
    """Return a digest of what a verdict is reached from; that of the bundle covers the data."""
    section = params.register_.model_dump(by_alias=True)
    replaced = version is not None and LEDGER_TAG in version.tags
    holds = [row["holds"] for row in limits]
    against = champion and champion.version
    return digest_of_value(
        [against, section, params.evaluate.resamples, bundle.digest, replaced, holds]
    )


def _earlier(tags: Mapping[str, str], inputs: str) -> Decision | None:
    """Return the decision that was reached from the same inputs, or None."""
    if tags.get(JUDGED_TAG) != inputs:
        return None
    verdict: Any = tags[VERDICT_TAG]
    action: Any = tags[ACTION_TAG]
    reasons = tags[REASON_TAG].split(SEPARATOR)
    return Decision(verdict, action, reasons, json.loads(tags[COMPARISON_TAG]))


def _differences(
    params: Params, paths: Paths, tracking: Tracking, champion: ModelVersion | None
) -> list[Difference] | None:
    """Compare with the champion on today's test set: its own old numbers are of other data."""
    if champion is None:
        return None
    test = scored_patches(paths, "test")
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        known = _learned_from(champion, tracking, Path(folder))
        test = test.part([i for i, id_ in enumerate(test.ids) if id_ not in known])
        bundle = fetch_bundle(champion, tracking, Path(folder))
        answers = Classifier(bundle).scores(test.contents) >= bundle.content.threshold
    if not test.cracked.any():
        return []
    own = test.scores >= read_report(paths.report("evaluate"))["threshold"]
    section = params.register_
    return compare(
        test.cracked,
        own,
        answers,
        test.groups,
        confidence=section.confidence,
        resamples=params.evaluate.resamples,
    )


def _learned_from(champion: ModelVersion, tracking: Tracking, folder: Path) -> set[str]:
    """Return the patches that the champion knows: where the split was dealt anew, test has some."""
    if PATCHES_TAG not in tracking.runs.tags(champion.run_id):
        return set()
    table = read_table(tracking.runs.download(champion.run_id, PATCHES_ARTIFACT, folder))
    return set(table.filter(pc.is_in(table["split"], LEARNED_FROM))["id"].to_pylist())


def _unless_replaced(decision: Decision, version: ModelVersion | None) -> Decision:
    """Ask, rather than promote again what was in service before: somebody may have taken it out."""
    if decision.action != "promote" or version is None or LEDGER_TAG not in version.tags:
        return decision
    reason = f"version {version.version} was in service before and another took its place"
    return replace(decision, action="ask", reasons=[*decision.reasons, reason])


def _version_tags(decision: Decision, run_id: str, paths: Paths, bundle: Bundle) -> dict[str, str]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    who = {RUN_TAG: run_id, WHO_TAG: getpass.getuser(), WHEN_TAG: now}
    return {**tags_of_code(paths, bundle), **who, **_verdict_tags(decision)}


def _verdict_tags(decision: Decision) -> dict[str, str]:
    return {
        VERDICT_TAG: decision.verdict,
        ACTION_TAG: decision.action,
        REASON_TAG: SEPARATOR.join(decision.reasons),
    }


def _kept(decision: Decision, inputs: str) -> dict[str, str]:
    return {COMPARISON_TAG: json.dumps(decision.comparison), JUDGED_TAG: inputs}


def _record(params: Params, paths: Paths, bundle: Bundle) -> TrainingRecord:
    reports = _reports(paths)
    metrics = flatten(reports["evaluate"]) | flatten(
        {stage: reports[stage] for stage in ("ingest", "split", "train", "export")}
    )
    test = scored_patches(paths, "test")
    size, manifest = params.ingest.patch_size, read_table(paths.manifest)
    return TrainingRecord(
        name=_name(params, bundle),
        params=_flat(_parameters(params)),
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
            paths.quarantine,
            paths.profile,
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
        manifest=manifest.to_pandas(),
        data_digest=output_digest(paths, "ingest", "data/images"),
        data_source=str(reports["ingest"]["source"]),
        patches=patches_table(manifest, read_table(paths.splits)),
    )


def _parameters(params: Params) -> dict[str, Any]:
    """Return the parameters; the limits are one: MLflow takes no `*` in a name."""
    given = params.model_dump(by_alias=True, exclude_none=True)
    given["register"]["limits"] = json.dumps(given["register"]["limits"], ensure_ascii=False)
    return given


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
    decision: Decision, run_id: str, version: ModelVersion | None, *, changed: bool
) -> Report:
    return {
        "changed": changed,
        "verdict": decision.verdict,
        "action": decision.action,
        "reasons": decision.reasons,
        "run_id": run_id,
        "version": version.version if version else None,
        "comparison": decision.comparison,
        "limits": decision.limits,
    }


def cached_verdict(params: Params, paths: Paths) -> Decision | None:
    """Return the verdict that `register` will find already reached, or None if it is to reach one.

    Reads the reports and the bundle, and no data.
    """
    tracking = Tracking(paths, params.register_.model_name)
    bundle = open_bundle(paths.bundle)
    run_id = tracking.runs.of_bundle(bundle.digest)
    if run_id is None:
        return None
    champion, version = tracking.registry.champion(), tracking.registry.of_run(run_id)
    if champion and champion.run_id == run_id:
        return Decision("unchanged", "promote", ["this very model is the champion"], [])
    numbers = numbers_of(_reports(paths), _slices(paths))
    limits = limit_rows(check_limits(numbers, params.register_.limits))
    inputs = _inputs(params, bundle, champion, version, limits)
    decision = _earlier(tracking.runs.tags(run_id), inputs)
    if decision and decision.action != "refuse" and version is None:
        return None
    return decision


def preview_verdict(params: Params, paths: Paths) -> Decision:
    """Return how `register` would judge the model now; nothing is written.

    Raises:
        ParamsError, TrackingError: as `register`.
    """
    tracking = Tracking(paths, params.register_.model_name)
    numbers = numbers_of(_reports(paths), _slices(paths))
    differences = _differences(params, paths, tracking, tracking.registry.champion())
    return decide(numbers, differences, params.register_)
