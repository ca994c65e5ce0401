"""`python -m infra.deployment`: deploy flows, notifications and automations to Prefect's server.

Done twice, it is as done once, and what a person has paused or switched off stays so. It exits
with 0 when all is deployed, 1 when something refuses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from cracks.errors import CracksError
from cracks.system.environment import apply_environment_defaults

#: Seconds without a heartbeat after which a run is dead, where it is not the usual.
SILENCE_VARIABLE = "CRACKS_RUN_SILENCE_SECONDS"

#: The usual: longer than a restart of Prefect's server, because a run that is given up while it
#: lives loses its slot.
SILENCE_SECONDS = 180.0

#: A process that was asked for must run after so long, and one that was told to end must have.
TIMEOUT_SECONDS = 600.0


def main() -> int:
    """Deploy, and say what; return the exit code."""
    apply_environment_defaults()  # before Prefect is imported
    try:
        _deploy(os.environ)
    except CracksError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _deploy(variables: Mapping[str, str]) -> None:
    from prefect.settings import PREFECT_UI_URL

    from flows.starts import DIED
    from infra.deployment.automations import apply_automations, read_automations
    from infra.deployment.connection import DeploymentError, connected
    from infra.deployment.deploying import deploy
    from infra.deployment.notifications import deploy_channels

    try:
        silence = float(variables.get(SILENCE_VARIABLE) or SILENCE_SECONDS)
    except ValueError:
        raise DeploymentError(f"{SILENCE_VARIABLE} must be a number of seconds.") from None
    with connected() as client:
        channels = deploy_channels(client, variables)
        deployments = deploy(client)
        automations = read_automations(
            {
                "deployments": [f"prefect.deployment.{one}" for one in deployments.values()],
                "training": deployments["training/training"],
                "channels": channels,
                "silence": silence,
                "timeout": max(TIMEOUT_SECONDS, silence),
                "died": DIED,
                # Where a person opens Prefect, for links; the server does not know it.
                "ui": PREFECT_UI_URL.value() or "",
            }
        )
        apply_automations(client, automations)
    print(f"Deployments: {', '.join(sorted(deployments))}")
    print(f"Notifications: {', '.join(channels) or 'none; CRACKS_NOTIFY_… in .env.example'}")
    print(f"Automations: {len(automations)}")


if __name__ == "__main__":
    sys.exit(main())
