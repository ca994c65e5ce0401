"""Trace something back to the data it comes from, and an image forward to the models that had it.

What can be traced is a prediction id, a model version, a run id, an image file, and the SHA-256 of
an image or its first digits.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cracks.errors import (
    CracksError,
    TrackingError,
    TrackingUnavailable,
    UnreadableImage,
    WorkspaceError,
)
from cracks.inference.bundle.bundle import CONTENT
from cracks.inference.handover.prediction_id import (
    PATTERN,
    PredictionId,
    parse_prediction_id,
    shown,
)
from cracks.monitoring.prediction_log.locations import place_of_log
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.monitoring.prediction_log.schema import SHORT_COLUMNS, RecordedPrediction
from cracks.registry.lineage.chain import (
    SHOWN_DIGITS,
    Chain,
    Patch,
    RunFacts,
    find_patches,
    follow,
)
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.mlflow_store.training_runs import BUNDLE_ARTIFACT, PATCHES_ARTIFACT
from cracks.registry.tags import COMMIT_TAG, PATCHES_TAG
from cracks.system.hashing import digest_of_file
from cracks.versioning.dvc_stages import output_digest
from cracks.versioning.git_state import has_commit
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table

logger = logging.getLogger(__name__)

VERSION = re.compile(r"v?([1-9][0-9]{0,8})", re.ASCII)
RUN_ID = re.compile(r"[0-9a-f]{32}")
IMAGE_ID = re.compile(rf"[0-9a-f]{{{SHOWN_DIGITS},64}}")

#: What a version says of an image in place of a split.
NOT_IN_DATA, NOT_RECORDED = "not in its data", "not recorded"


@dataclass(frozen=True)
class Use:
    """What a model version had to do with an image."""

    version: str
    aliases: tuple[str, ...]
    split: str  # train, validation, test, left out, or why there is none
    patch: Patch | None = None


@dataclass(frozen=True)
class ImageTrace:
    """An image, and what every version had to do with it."""

    id: str
    uses: list[Use]


def trace(what: str, tracking: Tracking, root: Path) -> Chain | ImageTrace:
    """Return the chain from a prediction, version or run to the data, or the uses of an image.

    Args:
        what: see the head of this module.
        tracking: where runs and versions are.
        root: of the workspace, whose repository has the commits.

    Raises:
        TrackingError: there is nothing of that name.
        UnreadableImage: the file cannot be read.
    """
    if PATTERN.fullmatch(what):
        prediction = parse_prediction_id(what)
        version = tracking.registry.version(prediction.version)
        return _trace_run(_run_facts(version.run_id, tracking), version, prediction, root)
    if found := VERSION.fullmatch(what):
        version = tracking.registry.version(found[1])
        return _trace_run(_run_facts(version.run_id, tracking), version, None, root)
    if Path(what).is_file():
        return _trace_image(_digest_of_image(Path(what)), what, tracking)
    if RUN_ID.fullmatch(what) and (run := _run_facts(what, tracking)) and not run.refusal:
        return _trace_run(run, tracking.registry.of_run(what), None, root)
    if IMAGE_ID.fullmatch(what.lower()):
        return _trace_image(what.lower(), what, tracking)
    raise TrackingError(
        f"{shown(what)} is nothing that can be traced: no prediction id, version, run id, file, or "
        f"SHA-256 of an image (at least {SHOWN_DIGITS} hexadecimal digits)."
    )


def _recorded(prediction: PredictionId, service: Path) -> RecordedPrediction | None:
    """Return what the service recorded of a prediction; an unreadable log breaks no chain."""
    try:
        return PredictionLog.of(service).find(str(prediction))
    except (CracksError, OSError) as error:
        place = place_of_log(service)
        logger.warning("the prediction log in %s cannot be read: %s", place, error)
        return None


def _trace_run(
    run: RunFacts, version: ModelVersion | None, prediction: PredictionId | None, root: Path
) -> Chain:
    tags: Mapping[str, str] = version.tags if version else {}
    commit = tags.get(COMMIT_TAG) or run.tags.get(COMMIT_TAG, "")
    here = bool(commit) and has_commit(root, commit)
    recorded = _recorded(prediction, Paths(root).service) if prediction else None
    return follow(run, version, prediction, commit_is_here=here, recorded=recorded)


def _run_facts(run_id: str, tracking: Tracking) -> RunFacts:
    try:
        tracking.runs.require(run_id)
        facts = RunFacts(run_id, tracking.runs.tags(run_id))
    except TrackingUnavailable:
        raise
    except TrackingError as error:
        return RunFacts(run_id, refusal=str(error))
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        place = Path(folder)
        if lock := tracking.runs.download_if_kept(run_id, "dvc.lock", place):
            facts = replace(facts, lock_digest=digest_of_file(lock), data_digest=_data_digest(lock))
        if content := tracking.runs.download_if_kept(run_id, f"{BUNDLE_ARTIFACT}/{CONTENT}", place):
            facts = replace(facts, bundle_digest=digest_of_file(content))
        table, digest = _patches(tracking, run_id, place)
        return replace(facts, patches=table, patches_digest=digest)


def _patches(tracking: Tracking, run_id: str, place: Path) -> tuple[pa.Table | None, str | None]:
    """Return the list of patches that a run keeps, and the digest of its file."""
    file = tracking.runs.download_if_kept(run_id, PATCHES_ARTIFACT, place)
    if file is None:
        return None, None
    with suppress(WorkspaceError):
        return read_table(file), digest_of_file(file)
    return None, digest_of_file(file)  # damaged: the digest tells that it is not the one of then


def _data_digest(lock: Path) -> str | None:
    with suppress(WorkspaceError):
        return output_digest(Paths(lock.parent), "ingest", "data/images")
    return None


# --- images ---------------------------------------------------------------------------------------


def _digest_of_image(image: Path) -> str:
    try:
        return digest_of_file(image)
    except OSError as error:
        raise UnreadableImage(f"{image} cannot be read: {error.strerror}") from None


def _trace_image(prefix: str, what: str, tracking: Tracking) -> ImageTrace:
    versions = tracking.registry.versions()
    lists = [_patches_of(version, tracking) for version in versions]
    found = [[] if table is None else find_patches(table, prefix) for table in lists]
    ids = {patch.id for patches in found for patch in patches}
    if not ids:
        raise TrackingError(_unknown(what, prefix, len(versions), lists.count(None)))
    if len(ids) > 1:
        raise TrackingError(f"{len(ids)} patches begin with {prefix}. Give more digits.")
    return ImageTrace(
        ids.pop(),
        [
            _use(version, table, patches)
            for version, table, patches in zip(versions, lists, found, strict=True)
        ],
    )


def _patches_of(version: ModelVersion, tracking: Tracking) -> pa.Table | None:
    """Return the list of patches of a version; None, if its run is older than these lists.

    Raises:
        TrackingError: the list is missing or altered.
    """
    run_id = version.run_id
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        table, digest = _patches(tracking, run_id, Path(folder))
    tagged = tracking.runs.tags(run_id).get(PATCHES_TAG)
    if tagged != digest:
        state = "altered" if digest else "missing"
        raise TrackingError(
            f"The list of patches of version {version.version} is {state}: {PATCHES_ARTIFACT} of "
            f"run {run_id}. `cracks trace {version.version}` shows what else is broken."
        )
    return table


def _use(version: ModelVersion, table: pa.Table | None, patches: list[Patch]) -> Use:
    aliases = tuple(version.aliases)
    if patches:
        return Use(version.version, aliases, patches[0].split, patches[0])
    return Use(version.version, aliases, NOT_RECORDED if table is None else NOT_IN_DATA)


def _unknown(what: str, prefix: str, versions: int, without: int) -> str:
    name = shown(what) if prefix == what.lower() else f"{what} (SHA-256 {prefix[:SHOWN_DIGITS]}…)"
    if not versions:
        return f"{name} is unknown: no version is registered yet."
    older = f"; {without} of them keep no list of their patches" if without else ""
    return (
        f"{name} is unknown: none of {versions} versions was trained, validated or tested on "
        f"these very bytes{older}."
    )


# --- in JSON --------------------------------------------------------------------------------------


def as_document(what: str, found: Chain | ImageTrace) -> dict[str, Any]:
    """Return what was found as JSON values."""
    if isinstance(found, ImageTrace):
        return {"what": what, "image": found.id, "versions": [asdict(use) for use in found.uses]}
    return {
        "what": what,
        "chain": [
            {"link": one.name, "value": one.value, "says": one.says, "broken": list(one.broken)}
            for one in found.links
        ],
        "patch": found.patch and asdict(found.patch),
        "broken": found.broken,
        "recorded": found.recorded and _recorded_as_json(found.recorded),
    }


def _recorded_as_json(recorded: RecordedPrediction) -> dict[str, Any]:
    content = {name: getattr(recorded, name) for name in SHORT_COLUMNS}
    return content | {"time": recorded.time.isoformat(timespec="milliseconds")}
