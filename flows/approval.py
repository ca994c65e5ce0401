"""Ask a person, in the Prefect UI, whether a model that the gate left undecided may be served.

It is a flow of its own: a training that waited for a person would keep the next one from beginning,
and Prefect takes the slot from a run that pauses and ends it when it notices, minutes later.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, pause_flow_run
from prefect.deployments import run_deployment
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
from prefect.input import RunInput
from prefect.states import Failed
from pydantic import Field

from cracks.errors import CracksError
from cracks.registry.gate import RegisterReport
from cracks.system.environment import apply_environment_defaults
from cracks.system.templates import render
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import open_workspace
from flows.promotion import promote_version, summarise_promotion
from flows.starts import refuse_after_too_many_deaths
from flows.steps import done

logger = logging.getLogger("cracks.approval")

DEPLOYMENT = "approval/approval"

#: Hours that a run may wait for a person at most.
MOST_HOURS = 7 * 24


class Approval(RunInput):
    """The form that the person fills in."""

    approve: bool = Field(default=False, description="Put this version into service.")
    who: str = Field(min_length=1, description="Your name, for the ledger.")
    why: str = Field(min_length=1, description="Your reason, for the ledger.")


# Prefect shows the types, the bounds and the words below `Args` in the form for a new run.
@flow(name="approval", validate_parameters=True)
def approval(
    version: Annotated[str, Field(min_length=1)],
    verdict: str = "undecided",
    reasons: tuple[str, ...] = (),
    run_id: str = "",
    workspace: Annotated[str, Field(min_length=1)] = ".",
    hours: Annotated[float, Field(gt=0, le=MOST_HOURS)] = 12,
) -> Any:
    """Wait for a person's answer in the Prefect UI, and promote the version if it is yes.

    Args:
        version: of the registered model, as `cracks models` names it.
        verdict: what the gate said of it; it is shown to the person.
        reasons: of the verdict; they are shown to the person.
        run_id: the MLflow run of the training; it is shown to the person.
        workspace: the checkout that has trained the version, on the machine of the worker.
        hours: how long to wait; after that the version waits for `cracks promote`.

    Returns:
        Whether the version was promoted, and who said what. Where the promotion refuses, a failed
        state with the one line that says why and what to do.
    """
    apply_environment_defaults()
    logging.getLogger("cracks").setLevel(logging.INFO)
    try:
        refuse_after_too_many_deaths()
        paths = open_workspace(Path(workspace))
        report = {"version": version, "verdict": verdict, "reasons": reasons, "run_id": run_id}
        answer = ask_for_approval(report, hours)
        if answer is None or not answer.approve:
            said = "nobody answered" if answer is None else f"{answer.who} said no: {answer.why}"
            logger.info("Version %s is not promoted: %s", version, said)
            return {"promoted": False, "approval": said}
        said = f"{answer.who} said yes: {answer.why}"
        params = load_params(paths.params)
        promotion = done(promote_version, params, paths, version, answer.who, answer.why)
        logger.info("%s; %s.", said, summarise_promotion(promotion))
        return {"promoted": True, "approval": said}
    except CracksError as error:
        return Failed(message=str(error), data=error)


def request_approval(workspace: Path, report: RegisterReport, hours: float) -> str:
    """Start the flow `approval` for a version, once a day at most; return in words what was done.

    Args:
        workspace: the checkout that has trained the version.
        report: of the stage register.
        hours: to wait at most.
    """
    version = report["version"]
    shown = {
        "version": version,
        "verdict": report["verdict"],
        "reasons": report["reasons"],
        "run_id": report["run_id"],
        "workspace": str(workspace),
        "hours": hours,
    }
    try:
        run: Any = run_deployment(
            DEPLOYMENT,
            parameters=shown,
            idempotency_key=f"approval-{report['run_id']}-{version}-{datetime.now(UTC).date()}",
            timeout=0,
            as_subflow=False,
        )
    except ObjectNotFound:
        return f"version {version} waits for `cracks promote {version}`: there is no {DEPLOYMENT}"
    return f"version {version} waits for a person in the run {run.name} of {DEPLOYMENT}"


def ask_for_approval(report: Mapping[str, Any], hours: float) -> Approval | None:
    """Pause the run until somebody presses Resume and fills in the form.

    Args:
        report: version, verdict, reasons and run_id of the stage register.
        hours: to wait at most.

    Returns:
        The answer; None if nobody gave one.
    """
    question = render("flows/approval_question.md.jinja", report=report)
    form = Approval.with_initial_data(description=question)
    try:
        return pause_flow_run(wait_for_input=form, timeout=round(3600 * hours), poll_interval=2)
    except FlowPauseTimeout:
        return None
