"""How often a run may be started again after its process had died without a word."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from cracks.errors import CracksError

#: What `infra/deployment/automations.yaml` says of a run that gives no sign of life any more.
DIED = (
    "Its process died without a word: it was killed together with its worker, or the machine went "
    "down. It is started again and resumes where it stopped."
)

#: Deaths after which it is not worth another try: the run itself may be what kills the machine.
MOST_DEATHS = 3


class DiedTooOften(CracksError):
    """A run took its machine down with it again and again."""


def refuse_after_too_many_deaths() -> None:
    """Refuse to start a run that has died too often; to be called before anything else is done.

    Raises:
        DiedTooOften: it has.
    """
    if not flow_run.id:
        return
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run.id)
    deaths = sum(one.type == StateType.CRASHED and one.message == DIED for one in states)
    if deaths >= MOST_DEATHS:
        raise DiedTooOften(
            f"This run has died {deaths} times without a word and is not started again. Look at "
            "the worker's log and at memory and disk of its machine, then run the deployment "
            "again: it resumes where it stopped."
        )
