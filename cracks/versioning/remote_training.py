"""A training for a repository and a DVC remote elsewhere: its workspace, and its results.

Nothing of it lasts on this machine. The order makes a registered model reproducible: data to
the DVC remote, then dvc.lock and reports to a branch, then the registry.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import cracks
from cracks.errors import RemoteError
from cracks.storage.addresses import is_in_bucket, parse_address
from cracks.storage.client import require_bucket
from cracks.system.atomic_files import remove, write_json
from cracks.versioning.dvc_data import default_remote, push_data, use_remote
from cracks.versioning.git_results import (
    Clone,
    Pushed,
    check_push,
    check_url,
    clone_branch,
    commit_results,
    push_results,
    short,
    take_up_results,
)
from cracks.versioning.git_state import code_version
from cracks.workspace.paths import Paths, open_workspace
from cracks.workspace.reports import read_json
from cracks.workspace.stage_reports import EvaluateReport

logger = logging.getLogger(__name__)

#: What judging and recording a model reads, if it was not recorded before.
RECORDED = (
    "data/images",
    "data/manifest.parquet",
    "data/splits.parquet",
    "data/scores.parquet",
    "models/bundle",
    "models/classifier.keras",
    "models/history.csv",
    "models/summary.txt",
    "reports/classification_report.txt",
    "reports/figures/ingest",
    "reports/figures/split",
    "reports/figures/train",
    "reports/figures/evaluate",
)

#: What it reads in any case.
BUNDLE = ("models/bundle",)


@dataclass(frozen=True)
class RemoteTrainingRequest:
    """What is to be trained, and where the results go."""

    repository: str
    branch: str
    revision: str  # empty: the tip of the branch
    results: str
    storage: str  # of DVC; empty: what the repository's own .dvc/config names


@dataclass(frozen=True)
class RemoteWorkspace:
    """A workspace that was made for an order."""

    request: RemoteTrainingRequest
    paths: Paths
    base: str  # the commit that the code comes from

    @property
    def clone(self) -> Clone:
        """The workspace as git sees it."""
        return _clone(self.request, self.paths.root)


def request_of(
    repository: str,
    branch: str,
    revision: str,
    results: str,
    storage: str,
    place: Mapping[str, str],
) -> RemoteTrainingRequest:
    """Return the order; what is empty comes from the environment `place`.

    Args:
        repository: its URL, or CRACKS_GIT_URL.
        branch: or CRACKS_GIT_BRANCH, or main.
        revision: a commit of the branch; empty for its tip.
        results: the branch for the results; `{branch}` and `{date}` stand for what they say.
        storage: s3://BUCKET/PREFIX or an absolute folder, or CRACKS_DVC_REMOTE.
        place: where things live.

    Raises:
        RemoteError: something is missing that the results would be lost without.
    """
    if not place.get("MLFLOW_TRACKING_URI"):
        raise RemoteError(
            "MLFLOW_TRACKING_URI is not set: the registry would be gone with this run's workspace. "
            "Set it to the address of your MLflow server."
        )
    repository = repository or place.get("CRACKS_GIT_URL", "")
    check_url(repository)
    branch = branch or place.get("CRACKS_GIT_BRANCH", "") or "main"
    today = datetime.now(UTC).date().isoformat()
    results = results.replace("{branch}", branch).replace("{date}", today)
    storage = storage or place.get("CRACKS_DVC_REMOTE", "")
    return RemoteTrainingRequest(repository, branch, revision, results, storage)


def scratch_place() -> Path:
    """Return where workspaces are made: CRACKS_SCRATCH_DIR, or a folder for temporary files."""
    given = os.environ.get("CRACKS_SCRATCH_DIR")
    return Path(given or Path(tempfile.gettempdir()) / f"cracks-{os.getuid()}").absolute()


def prepare(request: RemoteTrainingRequest, folder: Path) -> RemoteWorkspace:
    """Make the workspace for an order in `folder`, or resume in the one that a killed run has left.

    Raises:
        RemoteError, StorageError: repository or DVC remote refuse, which is found out here and not
            after hours; RemoteUnavailable, StorageUnavailable: for now.
    """
    root, note = folder / "workspace", folder / "prepared.json"
    prepared = read_json(note) if note.is_file() else {}
    if prepared.get("order") == asdict(request) and (root / ".git").is_dir():
        logger.info("Resuming in %s, which an earlier attempt has left", root)
        remove(root / ".git/index.lock")
    else:
        remove(root)
        prepared = {"order": asdict(request), "base": _make(request, root)}
        write_json(note, prepared)
    site = RemoteWorkspace(request, open_workspace(root), prepared["base"])
    _check_storage(site.paths)
    check_push(site.clone)
    return site


def _clone(request: RemoteTrainingRequest, root: Path) -> Clone:
    return Clone(root, request.repository, request.branch, request.results)


def _make(request: RemoteTrainingRequest, root: Path) -> str:
    clone = _clone(request, root)
    logger.info("Cloning %s of %s", request.branch, request.repository)
    clone_branch(clone, request.revision)
    base = take_up_results(clone)
    paths = open_workspace(root)
    if request.storage:
        use_remote(paths, request.storage)
    _warn_of_other_packages(root)
    head = code_version(root).commit
    logger.info("The code is %s, the results so far are those of %s", short(base), short(head))
    return base


def _check_storage(paths: Paths) -> None:
    """Refuse a remote that would be gone with the workspace, or that cannot be accessed."""
    address, endpoint = default_remote(paths)
    if not address or Path(address).is_relative_to(paths.root):
        raise RemoteError(
            "DVC would keep the data in this run's own workspace, which is removed. Set "
            "CRACKS_DVC_REMOTE to s3://BUCKET/PREFIX, or name a remote in .dvc/config."
        )
    if is_in_bucket(address):
        require_bucket(parse_address(address), endpoint)


def _warn_of_other_packages(root: Path) -> None:
    own, theirs = Path(cracks.__file__).parents[1] / "uv.lock", root / "uv.lock"
    if own.is_file() and theirs.is_file() and own.read_bytes() != theirs.read_bytes():
        logger.warning("This machine was set up from another uv.lock: last digits may differ")


def publish(site: RemoteWorkspace, message: str, run: str) -> Pushed:
    """Send data to the DVC remote, then commit dvc.lock and reports and push them.

    A retry after an interruption finishes it.

    Args:
        site: the workspace.
        message: of the commit.
        run: a name that no other run has.

    Raises:
        RemoteError: repository or DVC remote refuse; RemoteUnavailable: for now.
    """
    logger.info("Sending data and models to %s", default_remote(site.paths)[0])
    push_data(site.paths)
    commit_results(site.clone, message)
    pushed = push_results(site.clone, f"{site.request.results}-{run[:8]}")
    logger.info("The results are %s on %s", short(pushed.commit), pushed.branch)
    return pushed


def describe_commit(
    site: RemoteWorkspace,
    evaluation: EvaluateReport,
    verdict: str,
    reasons: list[str],
    run: str,
    ran: list[str],
) -> str:
    """Return the message of the commit of the results.

    Args:
        site: the workspace.
        evaluation: the report of the stage evaluate.
        verdict: that the gate is going to give.
        reasons: of the verdict.
        run: the Prefect flow run.
        ran: the stages that were not up to date.
    """
    test = evaluation["test"]
    numbers = f"accuracy {test['accuracy']:.4f}, crack recall {test['recall']:.4f}"
    facts = {
        "Flow-Run": run,
        "Verdict": verdict,
        "Test": f"{numbers}, threshold {evaluation['threshold']:.4f}",
        "Stages": ", ".join(ran) or "none",
        "Code": f"{site.base} of {site.request.branch}",
        "Host": socket.gethostname(),
    }
    trailers = "\n".join(f"{name}: {value}" for name, value in facts.items())
    return f"Retrain: {verdict}, {numbers}\n\n{'; '.join(reasons)}\n\n{trailers}\n"
