"""promote: move the alias `champion` to a version and hand its bundle to serving."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cracks.bundle import Bundle, open_bundle
from cracks.classifier import Classifier
from cracks.errors import BundleError, ServiceError, TrackingError
from cracks.handover import (
    Champion,
    name_champion,
    open_champion,
    read_champion,
    stage_bundle,
)
from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report
from cracks.tracking import BUNDLE_TAG, ModelVersion, Tracking


def promote(params: Params, paths: Paths, version: str) -> Report:
    """Put a version into service; doing it twice, or again after a crash, changes nothing more.

    The bundle is complete and has been loaded once before anything points to it.

    Raises:
        TrackingError: there is no such version.
        BundleError: its bundle is damaged or not the registered one.
    """
    tracking = Tracking(paths, params.register_.model_name)
    chosen = next((one for one in tracking.versions() if one.version == version), None)
    if chosen is None:
        raise TrackingError(
            f"{tracking.model_name} has no version {version}. `cracks models` lists them."
        )
    in_service = _in_service(paths)
    if in_service and in_service.run_id == chosen.run_id and _is_sound(paths):
        tracking.set_champion(version)
        return {"version": version, "changed": False, "previous": in_service.version}
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        bundle = _checked_bundle(tracking, chosen, Path(folder))
        name = stage_bundle(paths.service, bundle, version)
    tracking.set_champion(version)
    name_champion(
        paths.service,
        Champion(
            model_name=tracking.model_name,
            version=version,
            run_id=chosen.run_id,
            bundle=name,
            bundle_digest=bundle.digest,
            promoted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
    return {
        "version": version,
        "changed": True,
        "previous": in_service.version if in_service else None,
    }


def _in_service(paths: Paths) -> Champion | None:
    try:
        return read_champion(paths.service)
    except ServiceError:
        return None  # damaged: promoting writes it anew


def _is_sound(paths: Paths) -> bool:
    try:
        open_champion(paths.service)
    except BundleError:
        return False
    return True


def _checked_bundle(tracking: Tracking, chosen: ModelVersion, folder: Path) -> Bundle:
    bundle = open_bundle(tracking.download_bundle(chosen.run_id, folder))
    if bundle.digest != chosen.tags.get(BUNDLE_TAG):
        raise BundleError(
            f"The bundle of version {chosen.version} is not the one that was registered: its "
            f"digest is {bundle.digest[:12]}…. Nothing was promoted."
        )
    Classifier(bundle)
    return bundle
