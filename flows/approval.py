"""Ask a person, in the Prefect UI, whether a model that the gate left undecided may answer."""

from __future__ import annotations

from prefect import pause_flow_run
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from pydantic import Field

from cracks.reports import Report


class Approval(RunInput):
    """The form that the person fills in."""

    approve: bool = Field(default=False, description="Let this version answer from now on.")
    who: str = Field(min_length=1, description="Your name, for the ledger.")
    why: str = Field(min_length=1, description="Your reason, for the ledger.")


def ask_for_approval(report: Report, hours: float) -> Approval | None:
    """Pause the run until somebody presses Resume and fills in the form.

    Args:
        report: of the stage register.
        hours: to wait at most.

    Returns:
        The answer; None if nobody gave one.
    """
    reasons = "\n".join(f"- {reason}" for reason in report["reasons"])
    question = (
        f"## Version {report['version']}: {report['verdict']}\n\n{reasons}\n\n"
        f"The model card is in the MLflow registry; the run is `{report['run_id']}`."
    )
    form = Approval.with_initial_data(description=question)
    try:
        return pause_flow_run(wait_for_input=form, timeout=round(3600 * hours), poll_interval=2)
    except FlowPauseTimeout:
        return None
