"""The flow `training`: from photographs to a champion in service, or a reasoned refusal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import wraps
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
from cracks.paths import ACCEPT_RELABELS, STAGES, Paths, open_workspace
from cracks.reports import Report, read_report
from cracks.summaries import summarise
from cracks.versioning import locked_workspace, run_stage, stage_is_up_to_date
from flows.approval import ask_for_approval
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


def step(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of one step, which makes a function a Prefect task.

    What time can heal is retried with growing pauses. Any other refusal becomes a failed state that
    carries the error, so that no traceback stands where one line says all.
    """
    make_task = task(
        name=name,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_condition_fn=only_what_time_can_heal,
        cache_policy=NO_CACHE,
    )

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def refusing(*arguments: Any, **named: Any) -> Any:
            try:
                return function(*arguments, **named)
            except CracksError as error:
                if error.heals_with_time:
                    raise
                return Failed(message=str(error), data=error)

        return make_task(refusing)

    return decorate


@flow(name="training", validate_parameters=True)
def training(workspace: str = ".", accept_relabels: bool = False, approval_hours: float = 0) -> Any:
    """Bring every stage up to date, register the model if it is good enough, and promote it.

    Args:
        workspace: a checkout of this project; each may run one training at a time.
        accept_relabels: whether stored photographs may get another label.
        approval_hours: how long to wait for a person where the gate asks for one; after that, or
            with 0, the version waits for `cracks promote`.

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
            result = _train(params, paths, accept_relabels)
        # Others may train while a person thinks.
        if result["action"] == "ask" and approval_hours > 0:
            result |= _approved(params, paths, result, approval_hours)
        return result
    except CracksError as error:
        return Failed(message=str(error), data=error)


def _train(params: Params, paths: Paths, accept_relabels: bool) -> Report:
    accepted = {ACCEPT_RELABELS: str(int(accept_relabels))}
    stages = {
        stage: _done(bring_up_to_date.with_options(name=stage), stage, params, paths, accepted)
        for stage in STAGES
    }
    verdict = _done(register_model, params, paths)
    if verdict["action"] == "promote":
        _done(promote_version, params, paths, verdict["version"])
    return {
        **verdict,
        "promoted": verdict["action"] == "promote",
        "metrics": read_report(paths.report("evaluate"))["test"],
        "stages": stages,
    }


def _approved(params: Params, paths: Paths, result: Report, hours: float) -> Report:
    """Wait for a person's answer in the Prefect UI, and follow it."""
    answer = ask_for_approval(result, hours)
    if answer is None or not answer.approve:
        said = "nobody answered" if answer is None else f"{answer.who} said no: {answer.why}"
        _say("promote", f"version {result['version']} is not promoted: {said}")
        return {"approval": said}
    _done(promote_version, params, paths, result["version"], answer.who, answer.why)
    return {"promoted": True, "approval": f"{answer.who} said yes: {answer.why}"}


def _done(step_task: Any, *arguments: Any) -> Any:
    """Run a step and return its result, or raise the refusal that its failed state carries."""
    state = step_task(*arguments, return_state=True)
    if state.is_failed() and isinstance(state.data, CracksError):
        raise state.data
    return state.result()


@step("stage")
def bring_up_to_date(stage: str, params: Params, paths: Paths, variables: Mapping[str, str]) -> str:
    """Let DVC run a stage if anything it reads has changed; publish its report either way."""
    start = time.monotonic()
    outside = outside_input_changed(stage, params, paths)
    fresh = not outside and stage_is_up_to_date(paths, stage)
    if not fresh:
        _say(stage, "running")
        _run(stage, paths, variables, force=outside)
    report = read_report(paths.report(stage))
    took = "up to date" if fresh else f"done in {time.monotonic() - start:.0f} s"
    _say(stage, f"{took}: {summarise(stage, report)}")
    publish_stage(stage, report, paths)
    return "up to date" if fresh else "ran"


@step("register")
def register_model(params: Params, paths: Paths) -> Report:
    """Judge the model and make it a version, or refuse it with reasons."""
    from tasks.register import register

    report = register(params, paths)
    publish_verdict(report)
    _say("register", f"{report['verdict']}: {'; '.join(report['reasons'])}")
    return report


@step("promote")
def promote_version(
    params: Params, paths: Paths, version: str, who: str = "", why: str = ""
) -> Report:
    """Put an accepted version into service."""
    from tasks.promote import promote

    report = promote(params, paths, version, who=who, why=why)
    publish_promotion(report)
    answers = "answers from now on" if report["changed"] else "is in service already"
    _say("promote", f"version {version} {answers}")
    return report


def _run(stage: str, paths: Paths, variables: Mapping[str, str], *, force: bool) -> None:
    try:
        run_stage(paths, stage, force=force, variables=variables)
    except StageError:
        # The table of broken expectations is what a person needs then.
        if stage == "validate" and paths.report(stage).is_file():
            publish_stage(stage, read_report(paths.report(stage)), paths)
        raise


def _say(step_name: str, message: str) -> None:
    number = STEPS.index(step_name) + 1
    logger.info("[%d/%d] %-9s %s", number, len(STEPS), step_name, message)
