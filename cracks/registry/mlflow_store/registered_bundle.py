"""The bundle of a model version: fetched from its run, and the very one that was registered."""

from __future__ import annotations

from pathlib import Path

from cracks.errors import BundleError
from cracks.inference.bundle.bundle import Bundle, open_bundle
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.mlflow_store.training_runs import BUNDLE_ARTIFACT
from cracks.registry.tags import BUNDLE_TAG


def registered_digest(version: ModelVersion) -> str:
    """Return the digest of the bundle that was registered.

    Raises:
        BundleError: the version was registered by hand, without one.
    """
    digest = version.tags.get(BUNDLE_TAG)
    if digest is None:
        raise BundleError(
            f"Version {version.version} was registered without a bundle, so it is never served. "
            "`cracks train` registers models with theirs."
        )
    return digest


def fetch_bundle(version: ModelVersion, tracking: Tracking, folder: Path) -> Bundle:
    """Fetch the bundle of a version into `folder` and check every byte before any is loaded.

    Raises:
        BundleError: there is none, it is damaged, or it is another one than was registered.
        TrackingError: its run was deleted.
    """
    digest = registered_digest(version)
    bundle = open_bundle(tracking.runs.download(version.run_id, BUNDLE_ARTIFACT, folder))
    if bundle.digest != digest:
        raise BundleError(
            f"The bundle of version {version.version} is not the one that was registered: its "
            f"digest is {bundle.digest[:12]}…, not {digest[:12]}…."
        )
    return bundle
