"""Model versions in a real registry, made without a training."""

from __future__ import annotations

from cracks.inference.bundle.bundle import Bundle
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.tags import BUNDLE_TAG


def register_version(tracking: Tracking, bundle: Bundle | None) -> str:
    """Register a version whose run keeps the bundle, or none; return its number."""
    client, name, tags = tracking.connection.client, tracking.model_name, {}
    run = client.create_run(tracking.training.id).info
    if bundle:
        client.log_artifacts(run.run_id, str(bundle.folder), "bundle")
        tags[BUNDLE_TAG] = bundle.digest
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id, tags=tags)
    return str(version.version)
