"""The flow `training`: from photographs to a champion in service, or a reasoned refusal."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.tasks import Task, exponential_backoff

from cracks.environment import settle_environment
from cracks.errors import CracksError, StageError
from cracks.freshness import outside_input_changed
from cracks.params import Params, load_params
from cracks.paths import STAGES, Paths, open_workspace
from cracks.reports import Report, read_report
from cracks.summaries import summarise
from cracks.versioning import locked_workspace, run_stage, stage_is_up_to_date
from flows.artifacts import publish_promotion, publish_stage, publish_verdict

logger = logging.getLogger("cracks.training")

STEPS = (*STAGES, "register", "promote")


def only_what_time_can_heal(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Return whether a failed task may succeed if it is tried again (Prefect asks)."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, CracksError) and error.heals_with_time:
        logger.warning("%s Trying again in a moment.", error)
        return True
    return False


def step(name: str) -> Any:
    """Return the task decorator of one step; retried with growing pauses where time can heal."""
    return task(
        name=name,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_condition_fn=only_what_time_can_heal,
        cache_policy=NO_CACHE,
    )


@flow(name="training", validate_parameters=True)
def training(workspace: str = ".") -> Any:
    """Bring every stage up to date, register the model if it is good enough, and promote it.

    Args:
        workspace: a checkout of this project; each may run one training at a time.

    Returns:
        What `cracks train --json` prints: verdict, reasons, run, version, metrics, stages. Where a
        stage refuses, a failed state with the one line that says why and what to do.

    """
    settle_environment()
    logging.getLogger("cracks").setLevel(logging.INFO)
    try:
        paths = open_workspace(Path(workspace))
        params = load_params(paths.params)
        with locked_workspace(paths):
            return _train(params, paths)
    except CracksError as error:
        return Failed(message=str(error), data=error)


def _train(params: Params, paths: Paths) -> Report:
    stages = {
        stage: _done(bring_up_to_date.with_options(name=stage), stage, params, paths)
        for stage in STAGES
    }
    verdict = _done(register_model, params, paths)
    if verdict["version"]:
        _done(promote_version, params, paths, verdict["version"])
    return {
        **verdict,
        "promoted": bool(verdict["version"]),
        "metrics": read_report(paths.report("evaluate"))["test"],
        "stages": stages,
    }


def _done(step_task: Any, *arguments: Any) -> Any:
    """Run a step and return its result, or raise the refusal that its failed state carries."""
    state = step_task(*arguments, return_state=True)
    if state.is_failed() and isinstance(state.data, CracksError):
        raise state.data
    return state.result()


@step("stage")
def bring_up_to_date(stage: str, params: Params, paths: Paths) -> Any:
    """Let DVC run a stage if anything it reads has changed; publish its report either way."""
    try:
        start = time.monotonic()
        outside = outside_input_changed(stage, params, paths)
        fresh = not outside and stage_is_up_to_date(paths, stage)
        if not fresh:
            _say(stage, "running")
            run_stage(paths, stage, force=outside)
        report = read_report(paths.report(stage))
        took = "up to date" if fresh else f"done in {time.monotonic() - start:.0f} s"
        _say(stage, f"{took}: {summarise(stage, report)}")
        publish_stage(stage, report, paths)
        return "up to date" if fresh else "ran"
    except StageError as error:
        _publish_broken_expectations(stage, paths)
        return Failed(message=str(error), data=error)
    except CracksError as error:
        return _refusal(error)


@step("register")
def register_model(params: Params, paths: Paths) -> Any:
    """Judge the model and make it a version, or refuse it with reasons."""
    from tasks.register import register

    try:
        report = register(params, paths)
    except CracksError as error:
        return _refusal(error)
    publish_verdict(report)
    _say("register", f"{report['verdict']}: {'; '.join(report['reasons'])}")
    return report


@step("promote")
def promote_version(params: Params, paths: Paths, version: str) -> Any:
    """Put an accepted version into service."""
    from tasks.promote import promote

    try:
        report = promote(params, paths, version)
    except CracksError as error:
        return _refusal(error)
    publish_promotion(report)
    answers = "answers from now on" if report["changed"] else "is in service already"
    _say("promote", f"version {version} {answers}")
    return report


def _refusal(error: CracksError) -> State[Any]:
    """Return a failed state without a traceback, or raise again what a retry may heal."""
    if error.heals_with_time:
        raise error
    return Failed(message=str(error), data=error)


def _publish_broken_expectations(stage: str, paths: Paths) -> None:
    if stage == "validate" and paths.report(stage).is_file():
        publish_stage(stage, read_report(paths.report(stage)), paths)


def _say(step_name: str, message: str) -> None:
    number = STEPS.index(step_name) + 1
    logger.info("[%d/%d] %-9s %s", number, len(STEPS), step_name, message)
