"""Register a trained model: record its run in MLflow, judge it, and make it a model version."""

from __future__ import annotations

import csv
import getpass
import json
import tempfile
from dataclasses import dataclass, replace
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
from cracks.registry.gate import (
    SEPARATOR,
    Checked,
    Decision,
    RegisterReport,
    check_limits,
    decide,
    limit_rows,
    numbers_of,
)
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
    COMPARISON_TAG,
    JUDGED_TAG,
    LEDGER_TAG,
    LOCK_TAG,
    PATCHES_TAG,
    REASON_TAG,
    RUN_TAG,
    VERDICT_TAG,
    WHEN_TAG,
    WHO_TAG,
    checkout_tags,
)
from cracks.system.hashing import digest_of_value
from cracks.training.sweep.search_space import flat
from cracks.versioning.dvc_stages import output_digest, pipeline_digest
from cracks.workspace.params import Params, RegisterParams
from cracks.workspace.paths import STAGES, Paths
from cracks.workspace.reports import flatten
from cracks.workspace.stage_reports import StageReports, read_reports
from cracks.workspace.tables import read_table

#: The splits that a model has learned or chosen something from.
LEARNED_FROM = pa.array(["train", "validation"])

#: Patches in the input example that is kept with the model.
EXAMPLE_PATCHES = 2


@dataclass(frozen=True)
class Challenger:
    """A trained model as its workspace has it, with the limits that it is held to."""

    params: Params
    paths: Paths
    bundle: Bundle
    reports: StageReports
    slices: list[dict[str, str]]
    checked: list[Checked]

    @property
    def section(self) -> RegisterParams:
        """What params.yaml says of registering."""
        return self.params.register_

    @property
    def limits(self) -> list[dict[str, Any]]:
        """The limits as rows, each with whether it holds."""
        return limit_rows(self.checked)


def read_challenger(params: Params, paths: Paths) -> Challenger:
    """Return the trained model of a workspace.

    Raises:
        ParamsError: a limit is set to a number that the reports do not have.
        BundleError, WorkspaceError: the model or a report is missing or damaged.
    """
    bundle = open_bundle(paths.bundle)
    reports = read_reports(paths, STAGES)
    with paths.slices.open(newline="", encoding="utf-8") as file:
        slices = list(csv.DictReader(file))
    checked = check_limits(numbers_of(reports, slices), params.register_.limits)
    return Challenger(params, paths, bundle, reports, slices, checked)


def register_challenger(one: Challenger, tracking: Tracking) -> RegisterReport:
    """Record the run, reach the verdict, and make a version of what may be one.

    A verdict that was reached from the same inputs is not reached again.

    Raises:
        TrackingError: MLflow refused; TrackingUnavailable: it cannot be reached.
    """
    known = tracking.runs.of_bundle(one.bundle.digest)
    run_id = known or tracking.runs.log(_record(one))
    champion, version = _versions(tracking, run_id)
    decision = _reached(one, tracking, run_id, champion, version)
    changed = known is None or decision is None
    if decision is None:
        decision = _unless_replaced(_judged(one, tracking, champion), version)
        version = _recorded(one, tracking, run_id, decision, version)
        inputs = {
            COMPARISON_TAG: json.dumps(decision.comparison),
            JUDGED_TAG: _inputs(one, champion, version),
        }
        tracking.runs.tag(run_id, _verdict_tags(decision) | inputs)
    return {
        "changed": changed,
        "verdict": decision.verdict,
        "action": decision.action,
        "reasons": decision.reasons,
        "run_id": run_id,
        "version": version.version if version and decision.action != "refuse" else None,
        "comparison": decision.comparison,
        "limits": decision.limits,
    }


def cached_verdict(one: Challenger, tracking: Tracking) -> Decision | None:
    """Return the verdict that is reached already, or None if it is still to be reached.

    Reads no data.
    """
    run_id = tracking.runs.of_bundle(one.bundle.digest)
    if run_id is None:
        return None
    champion, version = _versions(tracking, run_id)
    return _reached(one, tracking, run_id, champion, version)


def preview_verdict(one: Challenger, tracking: Tracking) -> Decision:
    """Return how the model would be judged now; nothing is written.

    Raises:
        TrackingError: as `register_challenger`.
    """
    return _judged(one, tracking, tracking.registry.champion())


def record_cause(tracking: Tracking, report: RegisterReport, cause: str) -> None:
    """Let the run, and the version that it became, say why they were trained.

    A model that was there before keeps what it said.

    Args:
        tracking: of the workspace.
        report: of the stage `register`.
        cause: in one line; empty where a person or the clock has started the training.

    Raises:
        TrackingError: MLflow refused; TrackingUnavailable: it cannot be reached.
    """
    run_id = report["run_id"]
    if not cause or not report["changed"] or CAUSE_TAG in tracking.runs.tags(run_id):
        return
    tracking.runs.tag(run_id, {CAUSE_TAG: cause})
    if report["version"]:
        tracking.registry.tag(report["version"], {CAUSE_TAG: cause})


def _versions(tracking: Tracking, run_id: str) -> tuple[ModelVersion | None, ModelVersion | None]:
    """Return the champion, and the version that was made of a run; it may be the same one."""
    champion = tracking.registry.champion()
    if champion and champion.run_id == run_id:
        return champion, champion
    return champion, tracking.registry.of_run(run_id)


def _reached(
    one: Challenger,
    tracking: Tracking,
    run_id: str,
    champion: ModelVersion | None,
    version: ModelVersion | None,
) -> Decision | None:
    """Return the decision that was reached from the same inputs, or None."""
    if champion and champion.run_id == run_id:
        # Promoting it again changes nothing, and finishes what was interrupted.
        reasons = ["this very model is the champion"]
        return Decision("unchanged", "promote", reasons, limits=one.limits)
    tags = tracking.runs.tags(run_id)
    if tags.get(JUDGED_TAG) != _inputs(one, champion, version):
        return None
    verdict: Any = tags[VERDICT_TAG]
    action: Any = tags[ACTION_TAG]
    if action != "refuse" and version is None:
        return None
    reasons = tags[REASON_TAG].split(SEPARATOR)
    return Decision(verdict, action, reasons, json.loads(tags[COMPARISON_TAG]), one.limits)


def _inputs(one: Challenger, champion: ModelVersion | None, version: ModelVersion | None) -> str:
    """Return a digest of what a verdict is reached from; that of the bundle covers the data."""
    replaced = version is not None and LEDGER_TAG in version.tags
    return digest_of_value(
        [
            champion and champion.version,
            one.section.model_dump(by_alias=True),
            one.params.evaluate.resamples,
            one.bundle.digest,
            replaced,
            [row["holds"] for row in one.limits],
        ]
    )


def _judged(one: Challenger, tracking: Tracking, champion: ModelVersion | None) -> Decision:
    differences = _differences(one, tracking, champion)
    return decide(one.checked, differences, one.section, one.reports["split"])


def _differences(
    one: Challenger, tracking: Tracking, champion: ModelVersion | None
) -> list[Difference] | None:
    """Compare with the champion on today's test set: its own old numbers are of other data."""
    if champion is None:
        return None
    test = scored_patches(one.paths, "test")
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        known = _learned_from(champion, tracking, Path(folder))
        test = test.part([i for i, id_ in enumerate(test.ids) if id_ not in known])
        bundle = fetch_bundle(champion, tracking, Path(folder))
        by_champion = Classifier(bundle).scores(test.contents) >= bundle.content.threshold
    if not test.cracked.any():
        return []
    return compare(
        test.cracked,
        test.scores >= one.reports["evaluate"]["threshold"],
        by_champion,
        test.groups,
        confidence=one.section.confidence,
        resamples=one.params.evaluate.resamples,
    )


def _learned_from(champion: ModelVersion, tracking: Tracking, folder: Path) -> set[str]:
    """Return the patches that the champion knows: after a new split, test may have some."""
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


def _recorded(
    one: Challenger,
    tracking: Tracking,
    run_id: str,
    decision: Decision,
    version: ModelVersion | None,
) -> ModelVersion | None:
    """Write the verdict to the version, which is made if there is none and it may be one."""
    if version is not None:  # judged again, by other limits or against another champion
        tracking.registry.tag(version.version, _verdict_tags(decision))
        return version
    if decision.action == "refuse":
        return None
    tags = {
        **_code_tags(one.paths, one.bundle),
        RUN_TAG: run_id,
        WHO_TAG: getpass.getuser(),
        WHEN_TAG: datetime.now(UTC).isoformat(timespec="seconds"),
        **_verdict_tags(decision),
    }
    card = describe_version(one.reports, one.slices, decision, tags)
    return tracking.registry.register(run_id, tags, card)


def _code_tags(paths: Paths, bundle: Bundle) -> dict[str, str]:
    """Return the tags that lead from a run or version back to its code, data and bundle."""
    own = {LOCK_TAG: pipeline_digest(paths), BUNDLE_TAG: bundle.digest}
    return checkout_tags(paths) | own


def _verdict_tags(decision: Decision) -> dict[str, str]:
    return {
        VERDICT_TAG: decision.verdict,
        ACTION_TAG: decision.action,
        REASON_TAG: SEPARATOR.join(decision.reasons),
    }


def _record(one: Challenger) -> TrainingRecord:
    """Return what MLflow keeps of the training."""
    params, paths, reports = one.params, one.paths, one.reports
    metrics = flatten(reports["evaluate"]) | flatten(
        {
            "ingest": reports["ingest"],
            "split": reports["split"],
            "train": reports["train"],
            "export": reports["export"],
        }
    )
    test = scored_patches(paths, "test")
    size, manifest = params.ingest.patch_size, read_table(paths.manifest)
    return TrainingRecord(
        name=_name(params, one.bundle),
        params=flat(_parameters(params)),
        history=_numbers(paths.history),
        resources={stage: _numbers(paths.resources(stage)) for stage in STAGES},
        metrics=metrics,
        tags={
            "architecture": params.featurize.architecture,
            "mode": params.mode,
            "precision": params.featurize.precision,
            **_code_tags(paths, one.bundle),
        },
        files=_files(paths),
        figures=_figures(paths),
        bundle=one.bundle.folder,
        model=paths.classifier,
        example=np.stack([decode_to_size(c, size) for c in test.contents[:EXAMPLE_PATCHES]]),
        manifest=manifest.to_pandas(),
        data_digest=output_digest(paths, "ingest", "data/images"),
        data_source=reports["ingest"]["source"],
        patches=patches_table(manifest, read_table(paths.splits)),
    )


def _files(paths: Paths) -> list[Path]:
    return [
        paths.params,
        paths.pipeline,
        paths.pipeline_lock,
        paths.summary,
        paths.classification_report,
        paths.data_card,
        paths.quarantine,
        paths.profile,
        paths.label_errors,
        paths.label_errors_key,
        paths.slices,
        paths.sites_left_out,
        paths.behaviour,
        *(paths.report(stage) for stage in STAGES),
    ]


def _figures(paths: Paths) -> list[Path]:
    return [
        figure
        for stage in ("ingest", "split", "train", "evaluate")
        for figure in sorted(paths.figures(stage).glob("*.png"))
    ]


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
