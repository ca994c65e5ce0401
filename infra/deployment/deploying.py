"""Deploy what prefect.yaml says; what a person has paused stays paused.

Prefect writes every schedule anew when it deploys, with the `active` of prefect.yaml. So what is
deployed is a copy of prefect.yaml with what is paused on the server: such a schedule is not active
for a moment either.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from ruamel.yaml import YAML

from infra.deployment.connection import DeploymentError

CHECKOUT = Path(__file__).resolve().parents[2]

#: Keys of prefect.yaml that say when a schedule fires.
TIMES = ("cron", "interval", "rrule")

Content = dict[str, Any]


def ensure_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Create a work pool of processes where there is none of this name."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def read_deployments(
    client: SyncPrefectClient, names: Iterable[str]
) -> dict[str, DeploymentResponse]:
    """Return of deployments, named `flow/deployment`, those that the server has."""
    found: dict[str, DeploymentResponse] = {}
    for name in names:
        with suppress(ObjectNotFound):
            found[name] = client.read_deployment_by_name(name)
    return found


def deploy(client: SyncPrefectClient, checkout: Path = CHECKOUT) -> dict[str, UUID]:
    """Deploy all that prefect.yaml of a checkout says.

    Returns:
        The identifiers by `flow/deployment`.

    Raises:
        DeploymentError: `prefect deploy` refuses.
    """
    content: Content = YAML(typ="safe").load(checkout / "prefect.yaml")
    names = [_name(one) for one in content["deployments"]]
    for pool in {one["work_pool"]["name"] for one in content["deployments"]}:
        ensure_work_pool(client, pool)
    with tempfile.TemporaryDirectory(prefix="cracks-deploy-") as folder:
        file = Path(folder) / "prefect.yaml"
        YAML(typ="safe").dump(as_paused(content, read_deployments(client, names)), file)
        _run_prefect_deploy(checkout, file)
    return {name: one.id for name, one in read_deployments(client, names).items()}


def as_paused(content: Content, deployed: Mapping[str, DeploymentResponse]) -> Content:
    """Return the content of prefect.yaml with that paused which is paused on the server."""
    content = deepcopy(content)
    for wanted in content["deployments"]:
        known = deployed.get(_name(wanted))
        if known is None:
            continue
        if known.paused:
            wanted["paused"] = True
        for schedule in wanted.get("schedules") or ():
            if any(not one.active and _is_same(schedule, one) for one in known.schedules):
                schedule["active"] = False
    return content


def _name(wanted: Content) -> str:
    """Return `flow/deployment`; a flow is called as its function is."""
    return f"{wanted['entrypoint'].rpartition(':')[2]}/{wanted['name']}"


def _is_same(wanted: Content, known: DeploymentSchedule) -> bool:
    """Return whether a schedule is the one known: of the same name, or else at the same times."""
    if known.slug:
        return bool(known.slug == wanted.get("slug"))
    times = known.schedule.model_dump(mode="json")
    return all(wanted.get(key) == times.get(key) for key in TIMES)


def _run_prefect_deploy(checkout: Path, file: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(file)],
        cwd=checkout,
        # prefect.yaml takes the folder of the code from $PWD, which subprocess does not change.
        env={**os.environ, "PWD": str(checkout), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["it does not say why"]
        raise DeploymentError(f"`prefect deploy --all` fails: {lines[-1].strip()}")
