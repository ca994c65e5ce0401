"""`python -m infra.deployment`: deploy flows, notifications and automations to Prefect's server.

Done twice, it is as done once, and what a person has paused or switched off stays so. It exits
with 0 when all is deployed, 1 when something refuses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import timedelta

from cracks.errors import CracksError
from cracks.system.environment import apply_environment_defaults

#: Seconds without a heartbeat after which a run is dead, where it is not the usual.
SILENCE_VARIABLE = "CRACKS_RUN_SILENCE_SECONDS"


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

    from infra.deployment.automations import SILENCE, Known, apply_automations
    from infra.deployment.connection import DeploymentError, connected
    from infra.deployment.deploying import deploy
    from infra.deployment.notifications import deploy_channels

    try:
        seconds = float(variables.get(SILENCE_VARIABLE) or SILENCE.total_seconds())
    except ValueError:
        raise DeploymentError(f"{SILENCE_VARIABLE} must be a number of seconds.") from None
    with connected() as client:
        channels = deploy_channels(client, variables)
        deployments = deploy(client)
        ui = PREFECT_UI_URL.value() or ""
        known = Known(deployments, list(channels.values()), timedelta(seconds=seconds), ui)
        automations = apply_automations(client, known)
    print(f"Deployments: {', '.join(sorted(deployments))}")
    print(f"Notifications: {', '.join(channels) or 'none; CRACKS_NOTIFY_… in .env.example'}")
    print(f"Automations: {len(automations)}")


if __name__ == "__main__":
    sys.exit(main())
