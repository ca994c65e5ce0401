"""What starts a training when the flow `monitoring` has found drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.automations import AutomationCore, EventTrigger, Posture, RunDeployment

from flows.monitoring import EVENT

if TYPE_CHECKING:
    from infra.deployment.automations import Known

TRAINING = "training/training"

#: The names of our automations begin so, and have this tag; see automations.py.
PREFIX, TAG = "cracks: ", "cracks"


def retrained_on_drift(known: Known) -> list[AutomationCore]:
    """Return what runs `training` for each event of drift, with its reason as the cause."""
    if TRAINING not in known.deployments:
        return []
    return [
        AutomationCore(
            name=f"{PREFIX}drift starts a training",
            tags=[TAG],
            trigger=EventTrigger(
                expect={EVENT},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[
                RunDeployment(
                    source="selected",
                    deployment_id=known.deployments[TRAINING],
                    job_variables=None,
                    parameters={"cause": "{{ event.payload.reason }}"},
                )
            ],
        )
    ]
