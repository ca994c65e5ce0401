"""Deploy what prefect.yaml says; what a person has paused stays paused.

Prefect itself leaves a schedule paused that is (by its slug, and where prefect.yaml says nothing of
`active`), but `prefect deploy` resumes every deployment. So what is deployed is a copy of
prefect.yaml in which those that are paused on the server are: none is active for a moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from ruamel.yaml import YAML

from infra.deployment.connection import DeploymentError

CHECKOUT = Path(__file__).resolve().parents[2]


def deploy(client: SyncPrefectClient, checkout: Path = CHECKOUT) -> dict[str, UUID]:
    """Deploy all that prefect.yaml of a checkout says, into work pools of processes.

    Returns:
        The identifiers by `flow/deployment`.

    Raises:
        DeploymentError: `prefect deploy` refuses.
    """
    yaml = YAML(typ="safe")
    content: dict[str, Any] = yaml.load(checkout / "prefect.yaml")
    wanted = {_name(one): one for one in content["deployments"]}
    for name, one in wanted.items():
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=one["work_pool"]["name"], type="process"))
        with suppress(ObjectNotFound):
            one["paused"] = client.read_deployment_by_name(name).paused or one.get("paused", False)
    with tempfile.TemporaryDirectory(prefix="cracks-deploy-") as folder:
        file = Path(folder) / "prefect.yaml"
        yaml.dump(content, file)
        _run_prefect_deploy(checkout, file)
    return {name: client.read_deployment_by_name(name).id for name in wanted}


def _name(wanted: Mapping[str, Any]) -> str:
    """Return `flow/deployment`; Prefect calls a flow as its function is, with `-` for `_`."""
    return f"{wanted['entrypoint'].rpartition(':')[2].replace('_', '-')}/{wanted['name']}"


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
