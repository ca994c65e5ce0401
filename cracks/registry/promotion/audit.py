"""Compare the ledger with itself and with everything else that names the champion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cracks.errors import BundleError, ServiceError
from cracks.inference.handover.champion import open_champion, read_champion
from cracks.registry.ledger import (
    Entry,
    RegistryState,
    StoredEntry,
    chain_problems,
    readable,
    registry_problems,
    service_problems,
    storage_problems,
)

if TYPE_CHECKING:
    from cracks.registry.mlflow_store.promotion_lock import PromotionIntent
    from cracks.registry.mlflow_store.records import ModelVersion
    from cracks.registry.mlflow_store.tracking import Tracking


@dataclass(frozen=True)
class Audit:
    """What was found: the entries that can be read, and every problem in a sentence."""

    entries: list[Entry]
    problems: list[str]
    #: Whether there was a service folder to compare with; other machines may have none.
    with_service: bool

    @property
    def champion(self) -> str | None:
        """The version that the ledger says is in service."""
        return self.entries[-1].to_version if self.entries else None


def audit(tracking: Tracking, service: Path) -> Audit:
    """Look for every alteration of the ledger, the aliases, the versions and champion.json.

    Raises:
        TrackingError: MLflow cannot be asked.
    """
    stored = tracking.ledger.stored()
    entries = readable(stored)
    problems = [
        *ledger_problems(stored),
        *registry_problems(entries, _state(tracking.registry.versions())),
        *_service_problems(entries, service),
        *_interrupted(tracking.promotion_lock.underway()),
    ]
    return Audit(entries, problems, with_service=service.is_dir())


def ledger_problems(stored: list[StoredEntry]) -> list[str]:
    """Return what the ledger shows by itself: altered entries, and a broken chain."""
    return [*storage_problems(stored), *chain_problems(readable(stored))]


def _state(versions: list[ModelVersion]) -> RegistryState:
    from cracks.registry.mlflow_store.ledger_store import LEDGER_TAG
    from cracks.registry.mlflow_store.model_versions import CHAMPION, PREVIOUS
    from cracks.registry.mlflow_store.training_runs import BUNDLE_TAG

    named = {alias: one.version for one in versions for alias in one.aliases}
    return RegistryState(
        champion=named.get(CHAMPION),
        previous=named.get(PREVIOUS),
        bundles={one.version: one.tags.get(BUNDLE_TAG) for one in versions},
        anchors={one.version: one.tags[LEDGER_TAG] for one in versions if LEDGER_TAG in one.tags},
    )


def _service_problems(entries: list[Entry], service: Path) -> list[str]:
    if not service.is_dir():
        return []
    try:
        named = read_champion(service)
        if named is not None:
            open_champion(service)
    except (BundleError, ServiceError) as error:
        return [str(error)]
    return service_problems(entries, named)


def _interrupted(intent: PromotionIntent | None) -> list[str]:
    if intent is None:
        return []
    if intent.may_be_taken_over:
        ended = "was interrupted; the next `cracks promote` or `cracks rollback` settles it."
    else:
        ended = "has not ended yet; verify again when it has."
    return [f"The {intent.noun} of version {intent.version} by {intent.who} at {intent.at} {ended}"]
