"""What Prefect's server does by itself when something happens, or stops happening, to a run.

Automations are made by the functions in `DECLARED`; `apply_automations` makes the server have just
those. A run that died with its worker is noticed by its missing heartbeats (prefect.yaml sets
PREFECT_FLOWS_HEARTBEAT_FREQUENCY), marked as crashed, which frees its slot, and scheduled again;
`flows/starts.py` says how often. A worker that lives reports a dead process by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.automations import (
    AutomationCore,
    ChangeFlowRunState,
    EventTrigger,
    Posture,
    SendNotification,
)
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events import ResourceSpecification

from flows.starts import DIED
from infra.deployment.drift import retrained_on_drift

#: How the names of our automations begin, and their tag: others are left alone.
PREFIX, TAG = "cracks: ", "cracks"

#: Without a heartbeat for so long a run is dead. It is longer than a restart of Prefect's server,
#: because a run that is given up while it lives loses its slot.
SILENCE = timedelta(seconds=180)

#: A process that was asked for must run after so long, and one that was told to end must have.
START_TIMEOUT = END_TIMEOUT = timedelta(minutes=10)

HEARTBEAT = "prefect.flow-run.heartbeat"

#: States (by the names of their events) in which no process need give signs of life.
RESTING = (
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",  # has a limit of its own
    "Completed",
    "Crashed",
    "Failed",
    "Paused",
    "Scheduled",
    "Suspended",
    "TimedOut",
)

FAILING = ("Crashed", "Failed", "TimedOut")


@dataclass(frozen=True)
class Known:
    """What automations may refer to."""

    #: Identifiers by `flow/deployment`.
    deployments: Mapping[str, UUID]
    #: The blocks that notifications are sent through; none where the environment names none.
    channels: Sequence[UUID] = ()
    silence: timedelta = SILENCE
    #: Where a person opens Prefect, for links; the server does not know it.
    ui: str = ""


def watched_runs(known: Known) -> list[AutomationCore]:
    """Return what notices runs whose process is gone, frees their slots and starts them again.

    Runs of other deployments are left alone: nobody knows how often they give signs of life.
    """
    ours = _deployed(known)
    return [
        _if_missing(
            ours,
            "a run without heartbeats has died",
            after=(HEARTBEAT,),
            expect=(HEARTBEAT, *_events(RESTING)),
            within=known.silence,
            action=_change(StateType.CRASHED, DIED),
        ),
        _if_missing(
            ours,
            "a run that never began has died",
            after=_events(("Pending",)),
            expect=_events(("Running", *RESTING)),
            within=max(START_TIMEOUT, known.silence),
            action=_change(StateType.CRASHED, DIED),
        ),
        _if_missing(
            ours,
            "a run that was cancelled has ended",
            after=_events(("Cancelling",)),
            expect=_events((*FAILING, "Cancelled", "Completed")),
            within=max(END_TIMEOUT, known.silence),
            action=_change(StateType.CANCELLED, "Its process did not say that it has ended."),
        ),
        AutomationCore(
            name=f"{PREFIX}a run that has died is started again",
            tags=[TAG],
            trigger=EventTrigger(
                expect=set(_events(("Crashed",))),
                match=_every_run(**{"prefect.state-message": DIED}),
                match_related=ours,
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[
                _change(
                    StateType.SCHEDULED,
                    "It is started again after its process had died.",
                    name="AwaitingRetry",
                )
            ],
        ),
    ]


def told_failures(known: Known) -> list[AutomationCore]:
    """Return what tells people of each run that fails: flow, reason in one line, and link."""
    if not known.channels:
        return []
    subject = "{{ flow.name }}: {{ flow_run.state.name }}"
    reason = '{{ (flow_run.state.message or "It gives no reason.").split("\n")[0] }}'
    return [
        AutomationCore(
            name=f"{PREFIX}people are told of a run that fails",
            tags=[TAG],
            trigger=EventTrigger(
                expect=set(_events(FAILING)),
                match=_every_run(),
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[
                *told(known, subject, f"{reason}\n{known.ui}/runs/flow-run/{{{{ flow_run.id }}}}")
            ],
        )
    ]


def told(known: Known, subject: str, body: str) -> list[SendNotification]:
    """Return one notification for each channel; both texts are Jinja templates of Prefect."""
    return [
        SendNotification(block_document_id=channel, subject=subject, body=body)
        for channel in known.channels
    ]


#: All of them: `make deploy` adds what is added here, and removes what is removed.
DECLARED: tuple[Callable[[Known], list[AutomationCore]], ...] = (
    watched_runs,
    told_failures,
    retrained_on_drift,
)


def apply_automations(client: SyncPrefectClient, known: Known) -> list[str]:
    """Make the server have the automations that are declared; return their names.

    One that a person has switched off stays off.
    """
    wanted = {one.name: one for declare in DECLARED for one in declare(known)}
    there = {one.name: one for one in client.read_automations() if TAG in one.tags}
    for name, automation in wanted.items():
        if name in there:
            automation.enabled = there[name].enabled
            client.update_automation(there[name].id, automation)
        else:
            client.create_automation(automation)
    for name in there.keys() - wanted.keys():
        client.delete_automation(there[name].id)
    return sorted(wanted)


def _if_missing(
    runs: ResourceSpecification,
    name: str,
    *,
    after: Sequence[str],
    expect: Sequence[str],
    within: timedelta,
    action: ChangeFlowRunState,
) -> AutomationCore:
    """Return an automation that acts if no expected event of a run follows in time."""
    return AutomationCore(
        name=f"{PREFIX}{name}",
        tags=[TAG],
        trigger=EventTrigger(
            after=set(after),
            expect=set(expect),
            match=_every_run(),
            match_related=runs,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[action],
    )


def _change(state: StateType, message: str, name: str | None = None) -> ChangeFlowRunState:
    return ChangeFlowRunState(name=name, state=state, message=message, force=False)


def _events(states: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"prefect.flow-run.{state}" for state in states)


def _deployed(known: Known) -> ResourceSpecification:
    """Return what the events of runs of our deployments are related to."""
    names = [f"prefect.deployment.{one}" for one in known.deployments.values()]
    return ResourceSpecification(
        {"prefect.resource.role": "deployment", "prefect.resource.id": names}
    )


def _every_run(**labels: str) -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*", **labels})
