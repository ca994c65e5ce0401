"""The flow `training`: from photographs to a champion in service, or a reasoned refusal."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow
from prefect.states import Failed
from pydantic import Field

from cracks.errors import CracksError, StageError
from cracks.registry.gate import RegisterReport
from cracks.system.environment import apply_environment_defaults
from cracks.versioning.dvc_data import absent_inputs, pull_data
from cracks.versioning.dvc_stages import locked_workspace, run_stage, stage_is_up_to_date
from cracks.versioning.external_inputs import outside_input_changed
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import ACCEPT_RELABELS, STAGES, Paths, open_workspace
from cracks.workspace.reports import read_report
from cracks.workspace.stage_reports import KINDS, EvaluateReport
from flows.approval import MOST_HOURS, request_approval
from flows.artifacts import (
    cluster_progress,
    publish_outcome,
    publish_stage,
    publish_verdict,
)
from flows.promotion import promote_version, summarise_promotion
from flows.stage_summaries import summarise
from flows.starts import refuse_after_too_many_deaths
from flows.steps import done, step
from flows.training_reporter import TrainingReporter
from flows.training_result import TrainingResult

if TYPE_CHECKING:
    from cracks.registry.promotion.transaction import PromotionReport

logger = logging.getLogger("cracks.training")

STEPS = (*STAGES, "register", "promote")

#: Characters of a cause; MLflow keeps so many of a tag.
MOST_CAUSE = 5000


# Prefect shows the types, the bounds and the words below `Args` in the form for a new run.
@flow(name="training", validate_parameters=True)
def training(
    workspace: Annotated[str, Field(min_length=1)] = ".",
    accept_relabels: bool = False,
    approval_hours: Annotated[float, Field(ge=0, le=MOST_HOURS)] = 0,
    cause: Annotated[str, Field(max_length=MOST_CAUSE)] = "",
) -> Any:
    """Bring every stage up to date, register the model if it is good enough, and promote it.

    Args:
        workspace: a checkout of this project, on the machine of the worker; each may run one
            training at a time.
        accept_relabels: whether stored photographs may get another label.
        approval_hours: how long the flow `approval` waits for a person where the gate asks for one;
            after that, or with 0, the version waits for `cracks promote`.
        cause: why this run was started, in one line; monitoring says it. The MLflow run and the
            model version keep it.

    Returns:
        What `cracks train --json` prints: verdict, reasons, run, version, metrics, stages. Where a
        stage refuses, a failed state with the one line that says why and what to do.
    """
    apply_environment_defaults()
    logging.getLogger("cracks").setLevel(logging.INFO)
    paths, reporter = None, TrainingReporter(cause)
    try:
        refuse_after_too_many_deaths()
        paths = open_workspace(Path(workspace))
        params = load_params(paths.params)
        with locked_workspace(paths):
            try:
                result = _train(params, paths, accept_relabels, reporter.stages, cause)
            finally:
                reporter.poll(paths)
        asked = {}
        if result["action"] == "ask" and approval_hours > 0:
            asked = {"approval": request_approval(paths.root, result, approval_hours)}
            _say("promote", asked["approval"])
        reporter.end(paths, result)
        return result | asked
    except CracksError as error:
        if paths is not None:
            reporter.end(paths, None, str(error))
        return Failed(message=str(error), data=error)


def _train(
    params: Params, paths: Paths, accept_relabels: bool, stages: dict[str, str], cause: str
) -> TrainingResult:
    if cause:
        logger.info("started because of %s", cause)
    run_stages(params, paths, accept_relabels, stages)
    return judge_and_promote(params, paths, stages, cause)


def run_stages(
    params: Params,
    paths: Paths,
    accept_relabels: bool,
    stages: dict[str, str],
    *,
    lazily: bool = False,
) -> None:
    """Bring every stage up to date.

    Args:
        params: of the workspace.
        paths: of the workspace.
        accept_relabels: whether stored photographs may get another label.
        stages: takes for each stage whether it "ran", was "up to date", or "failed".
        lazily: whether data that is elsewhere stays there until a stage must run that reads it.
    """
    accepted = {ACCEPT_RELABELS: str(int(accept_relabels))}
    for stage in STAGES:
        stages[stage] = "failed"  # unless it comes back
        bring = bring_up_to_date.with_options(name=stage)
        stages[stage] = done(bring, stage, params, paths, accepted, lazily)


def judge_and_promote(
    params: Params,
    paths: Paths,
    stages: dict[str, str],
    cause: str = "",
    *,
    may_promote: bool = True,
) -> TrainingResult:
    """Register the model if it is good enough, and promote it where that is to be done here."""
    verdict: RegisterReport = done(register_model, params, paths, cause)
    changed = verdict["changed"] or "ran" in stages.values()
    promoted = verdict["action"] == "promote" and may_promote
    if promoted:
        promotion: PromotionReport = done(promote_version, params, paths, verdict["version"])
        _say("promote", summarise_promotion(promotion))
        changed |= promotion["changed"]
    outcome = summarise_outcome(verdict, changed=changed)
    logger.info(outcome)
    publish_outcome(outcome)
    return {
        **verdict,
        "changed": changed,
        "promoted": promoted,
        "metrics": read_report(paths.report("evaluate"), EvaluateReport)["test"],
        "stages": dict(stages),
    }


def summarise_outcome(verdict: RegisterReport, *, changed: bool) -> str:
    """Return in one line what came of a training; the verdict says the rest."""
    if changed:
        version = f"version {verdict['version']}" if verdict["version"] else "no version"
        return f"The model was judged: {verdict['verdict']}, {verdict['action']}; {version}."
    stays = (
        f"version {verdict['version']} stays as it is"
        if verdict["version"]
        else "the model stays refused"
    )
    return (
        "Nothing new: every stage is up to date, nothing was trained, registered or promoted; "
        f"{stays} ({verdict['verdict']})."
    )


@step("stage")
def bring_up_to_date(
    stage: str, params: Params, paths: Paths, variables: Mapping[str, str], lazily: bool = False
) -> str:
    """Let DVC run a stage if anything it reads has changed; publish its report either way."""
    start = time.monotonic()
    outside = outside_input_changed(stage, params, paths)
    fresh = not outside and stage_is_up_to_date(paths, stage, absent_is_unchanged=lazily)
    if not fresh:
        if lazily:
            pull_data(paths, absent_inputs(paths, stage))
        _say(stage, "running")
        _run(stage, paths, variables, force=outside)
    report = read_report(paths.report(stage), KINDS[stage])
    took = "up to date" if fresh else f"done in {time.monotonic() - start:.0f} s"
    _say(stage, f"{took}: {summarise(stage, report)}")
    publish_stage(stage, report, paths)
    return "up to date" if fresh else "ran"


@step("register")
def register_model(params: Params, paths: Paths, cause: str = "") -> RegisterReport:
    """Judge the model and make it a version, or refuse it with reasons."""
    from cracks.registry.mlflow_store.tracking import Tracking
    from cracks.registry.registration import record_cause
    from tasks.register import register

    report = register(params, paths)
    record_cause(Tracking(paths, params.register_.model_name), report, cause)
    publish_verdict(report)
    _say("register", f"{report['verdict']}: {'; '.join(report['reasons'])}")
    return report


def _run(stage: str, paths: Paths, variables: Mapping[str, str], *, force: bool) -> None:
    try:
        with cluster_progress(stage) as on_progress:
            run_stage(paths, stage, force=force, variables=variables, on_progress=on_progress)
    except StageError:
        # The table of broken expectations is what a person needs then.
        if stage == "validate" and paths.report(stage).is_file():
            publish_stage(stage, read_report(paths.report(stage), KINDS[stage]), paths)
        raise


def _say(step_name: str, message: str) -> None:
    number = STEPS.index(step_name) + 1
    logger.info("[%d/%d] %-9s %s", number, len(STEPS), step_name, message)
