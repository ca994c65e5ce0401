"""The policies of `policies/` for the buckets of one installation.

    worker          pulls and pushes what DVC keeps, reads predictions to monitor them; artifacts
                    reach it through the MLflow server alone
    mlflow-server   reads, writes and deletes artifacts
    serving         writes, merges and reads predictions; its bundles come through the service
                    folder
    operator        makes the buckets, backs up and restores

Nobody may delete a bucket, an old version or a back-up: what was deleted by mistake, or with stolen
credentials, is there until the lifecycle ends it. Where somebody has chosen a key of KMS for a
bucket, that key's own policy must let the roles use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

from cracks.system.atomic_files import write_text

FOLDER = Path(__file__).with_name("policies")

#: Of whom there is a policy.
ROLES = ("worker", "mlflow-server", "serving", "operator")


def render_policy(role: str, buckets: Mapping[str, str]) -> str:
    """Return the policy of a role as JSON.

    Args:
        role: one of ROLES.
        buckets: the name of the bucket of each purpose.
    """
    return Template((FOLDER / f"{role}.json").read_text(encoding="utf-8")).substitute(buckets)


def write_policies(folder: Path, buckets: Mapping[str, str]) -> None:
    """Write the policy of each role to `folder`, as ROLE.json."""
    for role in ROLES:
        write_text(folder / f"{role}.json", render_policy(role, buckets))
