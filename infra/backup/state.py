"""What there is to back up: the databases, and the places of files, of this installation.

Without any setting it is that of the stack (`make up`), where this checkout has one; or else the
local state of the workspace: the sqlite database and the artifacts in mlruns/, the default remote
of DVC, and the service folder. With other servers, the environment names it:

    CRACKS_BACKUP_DATABASE_MLFLOW    postgresql://USER:PASSWORD@HOST:PORT/NAME, or sqlite:////PATH
    CRACKS_BACKUP_DATABASE_…         any other one, such as …_PREFECT
    CRACKS_BACKUP_ARTIFACTS          s3://BUCKET/PREFIX or a folder: where MLflow keeps artifacts
    CRACKS_BACKUP_DVC                the same of DVC, if it is not the default remote
    CRACKS_SERVICE_DIR, CRACKS_SERVE_ANSWERS, AWS_*    as everywhere
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

from cracks.inference.handover.service_processes import FOLDER as REPORTS
from cracks.storage.object_store import FolderStore, ObjectStore, open_store
from cracks.versioning.dvc_data import default_remote
from cracks.workspace.paths import Paths
from infra.backup.databases import Database, database_at
from infra.backup.manifest import BackupRefused

DATABASE = "CRACKS_BACKUP_DATABASE_"
ARTIFACTS = "CRACKS_BACKUP_ARTIFACTS"
DVC = "CRACKS_BACKUP_DVC"
ANSWERS = "CRACKS_SERVE_ANSWERS"

#: The database that names runs, versions and the ledger.
MLFLOW = "mlflow"

#: What belongs to processes that run now, or was not finished.
OF_PROCESSES = (f"{REPORTS}/*", "*.lock", ".*.partial", "*/.*.partial")


@dataclass(frozen=True)
class State:
    """The databases and the places of files, by their names."""

    databases: Mapping[str, Database]
    #: artifacts, dvc, service, and answers if these lie elsewhere than in the service folder.
    files: Mapping[str, ObjectStore]


def state_of(workspace: Paths, variables: Mapping[str, str]) -> State:
    """Return the state of a workspace, and of the servers that the environment names.

    Raises:
        BackupRefused: a server is used, but not where it keeps its state is named.
    """
    databases = {
        name.removeprefix(DATABASE).lower(): database_at(value)
        for name, value in sorted(variables.items())
        if name.startswith(DATABASE) and value
    }
    artifacts = variables.get(ARTIFACTS)
    _require_together(databases, artifacts, variables)
    if MLFLOW not in databases:
        local = workspace.local_tracking.resolve() / "mlflow.db"
        databases[MLFLOW] = database_at(f"sqlite:///{local}")
    service = FolderStore(workspace.service, _outlives_a_process)
    files = {
        "artifacts": place_at(artifacts or str(workspace.local_tracking / "artifacts")),
        "dvc": place_at(variables[DVC]) if variables.get(DVC) else _dvc_remote(workspace),
    }
    if variables.get(ANSWERS):
        answers = place_at(variables[ANSWERS])
        files |= {} if _overlap(answers, service) else {"answers": answers}
    return State(databases, {**files, "service": service})


def place_at(text: str, endpoint_url: str | None = None) -> ObjectStore:
    """Return the files at a folder or `s3://bucket/prefix`, hidden ones too: all are backed up.

    Raises:
        StorageError: it is no such address.
    """
    return open_store(text, endpoint_url=endpoint_url, wanted=lambda _: True)


def variables_of_stack(workspace: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name the state of the stack, if there is one and nothing else.

    Of the storage its folder is taken: AWS_* are free for the place of the back-ups.

    Raises:
        StackError: its ports or secrets cannot be read.
    """
    from infra.stack.settings import (
        CHECKOUT,
        DATABASES,
        FOLDER_VARIABLE,
        open_stack,
        read_ports,
        read_secrets,
    )

    named = any(name == ARTIFACTS or name.startswith(DATABASE) for name in variables)
    stack = open_stack(variables)
    elsewhere = workspace.resolve() != CHECKOUT and not variables.get(FOLDER_VARIABLE)
    if named or elsewhere or not stack.secrets.is_file():
        return {}
    port, secrets = read_ports(stack)["postgresql"], read_secrets(stack)
    passwords = {name: quote(secrets[f"CRACKS_{name.upper()}_DB_PASSWORD"]) for name in DATABASES}
    addresses = {
        f"{DATABASE}{name.upper()}": f"postgresql://{name}:{password}@127.0.0.1:{port}/{name}"
        for name, password in passwords.items()
    }
    return addresses | {
        ARTIFACTS: str(stack.storage / "mlflow/artifacts"),
        DVC: str(stack.storage / "dvc"),
        ANSWERS: str(stack.storage / "answers"),
        "CRACKS_SERVICE_DIR": str(stack.service),
    }


def _require_together(
    databases: Mapping[str, Database], artifacts: str | None, variables: Mapping[str, str]
) -> None:
    """Refuse to take the local state for that of a server, or half of the one for the other."""
    server = variables.get("MLFLOW_TRACKING_URI", "")
    if (MLFLOW in databases) != bool(artifacts) or (server.startswith("http") and not artifacts):
        why = f"MLflow is the server {server}" if server else "One of them alone is half of MLflow"
        raise BackupRefused(
            f"{why}: set both {DATABASE}MLFLOW (its --backend-store-uri) and {ARTIFACTS} (its "
            "--artifacts-destination)."
        )


def _outlives_a_process(path: str) -> bool:
    return not any(fnmatchcase(path, pattern) for pattern in OF_PROCESSES)


def _dvc_remote(workspace: Paths) -> ObjectStore:
    """Return the default remote of DVC, with the endpoint that is set for it."""
    url, endpoint_url = default_remote(workspace)
    if not url:
        raise BackupRefused(f"{workspace.root} has no default remote of DVC. Set {DVC}.")
    return place_at(url, endpoint_url)


def require_apart(archive: ObjectStore, state: State) -> None:
    """Refuse to keep back-ups within what is backed up, or the other way round.

    Raises:
        BackupRefused: one lies in the other.
    """
    for name, place in state.files.items():
        if _overlap(archive, place):
            raise BackupRefused(
                f"{archive.origin} lies within {name} ({place.origin}), or {name} in it. "
                "Name a place apart, best on another disk."
            )


def _overlap(one: ObjectStore, other: ObjectStore) -> bool:
    first, second = (f"{place.origin}/" for place in (one, other))
    return first.startswith(second) or second.startswith(first)
