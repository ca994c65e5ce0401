"""Restore the workspace of a model version, and evaluate there again.

The code comes from git, params.yaml, dvc.yaml and dvc.lock from the run, data and models from
DVC's cache or its remote. The source of the photographs is not needed.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cracks.errors import TrackingError, WorkspaceError
from cracks.registry.lineage.chain import short
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.tags import COMMIT_TAG, DIRTY_TAG, LOCK_TAG
from cracks.system.atomic_files import atomic_replace
from cracks.system.hashing import digest_of_file, md5_of_file
from cracks.versioning.dvc_data import bring_data, recorded_outputs, share_storage
from cracks.versioning.dvc_stages import changes_since, run_stage
from cracks.versioning.git_state import clone_at, has_commit
from cracks.workspace.paths import Paths
from cracks.workspace.reports import flatten, read_json

logger = logging.getLogger(__name__)

#: Numbers closer than this are equal: another processor computes other last bits.
TOLERANCE = 1e-6

#: What evaluating reads of the data; the rest of dvc.lock may be lost.
NEEDED = (
    "data/images",
    "data/manifest.parquet",
    "data/splits.parquet",
    "data/features",
    "models/featurizer",
    "models/trainable",
)


@dataclass(frozen=True)
class Difference:
    """A number that is another one than the run recorded; None where there is none at all."""

    metric: str
    recorded: float | None
    now: float | None


@dataclass(frozen=True)
class Restored:
    """The workspace of a version, and what evaluating there has given."""

    version: str
    run_id: str
    commit: str
    folder: Path
    compared: int  # numbers
    differences: list[Difference]
    notes: list[str]  # what is not as it was


def restore(number: str, folder: Path, tracking: Tracking, paths: Paths) -> Restored:
    """Rebuild the workspace of a version in `folder`, evaluate again, and compare the numbers.

    Refused or interrupted, nothing of it is left.

    Args:
        number: of the version.
        folder: new, or empty.
        tracking: where the version and its run are.
        paths: the workspace whose repository, cache and remotes are used.

    Raises:
        TrackingError: there is no such version, or its run does not have what is needed.
        WorkspaceError: the commit or the data is missing, or `folder` is not empty.
        StageError: the evaluation failed.
    """
    folder = _free(folder)
    version = tracking.registry.version(number)
    commit = _commit_of(version, paths)
    with atomic_replace(folder) as partial:
        logger.info("Cloning %s at %s", paths.root, short(commit))
        clone_at(paths, commit, partial)
        target = Paths(partial)
        _put_recorded_files(version, tracking, target)
        share_storage(paths, target)
        logger.info("Bringing data and models from DVC")
        lost = _bring_data(version, target, paths)
        _put_recorded_reports(version, tracking, target)
        notes = _notes(version, lost, target)
        for note in notes:
            logger.info("note: %s", note)
        logger.info("Evaluating again")
        before = _numbers(target)
        run_stage(target, "evaluate", force=True)
        keys = sorted({*before, *_numbers(target)})
        recorded = tracking.runs.metrics(version.run_id)
        differences = compare(keys, recorded, _numbers(target))
    return Restored(number, version.run_id, commit, folder, len(keys), differences, notes)


def compare(
    keys: list[str], recorded: Mapping[str, float], now: Mapping[str, float]
) -> list[Difference]:
    """Return the numbers that differ by more than the last bits, or that one side lacks."""
    found = [Difference(key, recorded.get(key), now.get(key)) for key in keys]
    return [one for one in found if not _are_equal(one.recorded, one.now)]


def _are_equal(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return bool(np.isclose(first, second, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _free(folder: Path) -> Path:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise WorkspaceError(f"{folder} is no folder. Name a new one.")
    if folder.is_dir() and any(folder.iterdir()):
        raise WorkspaceError(f"{folder} is not empty. Name a new folder.")
    return folder.absolute()


def _commit_of(version: ModelVersion, paths: Paths) -> str:
    commit = version.tags.get(COMMIT_TAG, "")
    if not commit:
        raise TrackingError(
            f"Version {version.version} has no tag {COMMIT_TAG}: it was not registered by `cracks "
            "train`, and nothing says what it was made from."
        )
    if not has_commit(paths.root, commit):
        raise WorkspaceError(
            f"The commit {short(commit)} of version {version.version} is not in this repository. "
            "`git fetch --all`, or use the clone that trained it (`cracks -C DIR`)."
        )
    return commit


def _put_recorded_files(version: ModelVersion, tracking: Tracking, target: Paths) -> None:
    with tempfile.TemporaryDirectory(prefix="cracks-") as place:
        for file in (target.params, target.pipeline, target.pipeline_lock):
            kept = tracking.runs.download(version.run_id, file.name, Path(place))
            shutil.copyfile(kept, file)
    digest = digest_of_file(target.pipeline_lock)
    if digest != version.tags.get(LOCK_TAG):
        raise TrackingError(
            f"The dvc.lock that run {version.run_id} keeps was altered: its SHA-256 is "
            f"{short(digest)}, that of version {version.version} "
            f"{short(version.tags.get(LOCK_TAG, 'not recorded'))}."
        )


def _bring_data(version: ModelVersion, target: Paths, paths: Paths) -> list[str]:
    """Put data and models into place; return those that are lost and that nothing needs."""
    lost = bring_data(target)
    needed = [path for path in lost if path in NEEDED]
    if needed:
        raise WorkspaceError(
            f"Neither the cache of {paths.root} nor its remote has {', '.join(needed)} of version "
            f"{version.version}. `dvc pull` in a clone that has it, or name its remote "
            "(`make dvc-remote`)."
        )
    return lost


def _put_recorded_reports(version: ModelVersion, tracking: Tracking, target: Paths) -> None:
    """Put the reports into place, which DVC does not keep but the run does."""
    with tempfile.TemporaryDirectory(prefix="cracks-") as place:
        for path, digest in recorded_outputs(target, cached=False):
            file = target.root / path
            if file.is_file() and md5_of_file(file) == digest:
                continue
            # A run keeps most of them; what is missing is noted.
            kept = tracking.runs.download_if_kept(version.run_id, file.name, Path(place))
            if kept and md5_of_file(kept) == digest:
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(kept, file)


def _notes(version: ModelVersion, lost: list[str], target: Paths) -> list[str]:
    notes = [f"{path} is lost; nothing here needs it" for path in lost]
    if version.tags.get(DIRTY_TAG) == "true":
        notes.append(
            "the workspace had been changed when this version was trained: params.yaml, dvc.yaml "
            "and dvc.lock are those of its run"
        )
    changes = [change for change in changes_since(target) if not _is_about(change, lost)]
    return notes + [f"not as it was then: {change}" for change in changes]


def _is_about(change: str, paths: list[str]) -> bool:
    return change.partition(": ")[2].rpartition(" ")[0] in paths


def _numbers(target: Paths) -> dict[str, float]:
    """Return the numbers of the evaluation; none, where it has left no report."""
    try:
        return flatten(read_json(target.report("evaluate")))
    except WorkspaceError:
        return {}
