"""Compare the ledger with itself and with everything else that names the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cracks.errors import BundleError, ServiceError
from cracks.inference.handover.champion import Champion, open_champion, read_champion
from cracks.registry.ledger import (
    Entry,
    StoredEntry,
    chain_problems,
    readable,
    storage_problems,
)
from cracks.registry.mlflow_store.model_versions import CHAMPION, PREVIOUS
from cracks.registry.mlflow_store.promotion_lock import PromotionIntent
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.tags import BUNDLE_TAG, LEDGER_TAG


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
        TrackingError: MLflow cannot be reached.
    """
    stored = tracking.ledger.stored()
    entries = readable(stored)
    problems = [
        *ledger_problems(stored),
        *registry_problems(entries, tracking.registry.versions()),
        *_service_problems(entries, service),
        *_interrupted(tracking.promotion_lock.underway()),
    ]
    return Audit(entries, problems, with_service=service.is_dir())


def ledger_problems(stored: list[StoredEntry]) -> list[str]:
    """Return what the ledger shows by itself: altered entries, and a broken chain."""
    return [*storage_problems(stored), *chain_problems(readable(stored))]


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


def registry_problems(entries: Sequence[Entry], versions: Sequence[ModelVersion]) -> list[str]:
    """Return where the registry says something else than the ledger, each in a sentence."""
    last_of_version = {entry.to_version: entry for entry in entries}
    return [
        *_alias_problems(entries[-1] if entries else None, versions),
        *_version_problems(last_of_version, versions),
        *_anchor_problems({entry.hash for entry in entries}, last_of_version, versions),
    ]


def _alias_problems(last: Entry | None, versions: Sequence[ModelVersion]) -> list[str]:
    named = {alias: one.version for one in versions for alias in one.aliases}
    if last is None:
        if CHAMPION not in named:
            return []
        return [
            f"The alias champion names version {named[CHAMPION]}, but the ledger has no entry. "
            f"`cracks promote {named[CHAMPION]}` writes the first."
        ]
    return [
        f"The alias {alias} was moved by hand: it names {_version(named.get(alias))}, but by entry "
        f"{last.number} of the ledger it is {_version(meant)}."
        for alias, meant in ((CHAMPION, last.to_version), (PREVIOUS, last.from_version))
        if named.get(alias) != meant
    ]


def _version(number: str | None) -> str:
    return f"version {number}" if number else "no version"


def _version_problems(
    last_of_version: Mapping[str, Entry], versions: Sequence[ModelVersion]
) -> list[str]:
    problems = []
    bundles = {one.version: one.tags.get(BUNDLE_TAG, "none") for one in versions}
    for version, entry in last_of_version.items():
        found = bundles.get(version)
        if found is None:
            problems.append(
                f"Version {version}, which entry {entry.number} put into service, is gone."
            )
        elif found != entry.bundle_digest:
            problems.append(
                f"Version {version} has another bundle digest ({found[:12]}) than entry "
                f"{entry.number} says ({entry.bundle_digest[:12]}): one of the two was altered."
            )
    return problems


def _anchor_problems(
    hashes: set[str], last_of_version: Mapping[str, Entry], versions: Sequence[ModelVersion]
) -> list[str]:
    problems = []
    for one in versions:
        anchor, entry = one.tags.get(LEDGER_TAG), last_of_version.get(one.version)
        if anchor is not None and anchor not in hashes:
            problems.append(
                f"The entry that made version {one.version} champion ({anchor[:12]}…) is not in "
                "the ledger any more: it was cut off or altered, or the version's tag was."
            )
        elif entry and anchor != entry.hash:
            problems.append(
                f"The tag {LEDGER_TAG} of version {one.version} does not name entry "
                f"{entry.number}, the last that put it into service: the tag or the entry was "
                "altered."
            )
    return problems


def service_problems(entries: Sequence[Entry], named: Champion | None) -> list[str]:
    """Return where champion.json says something else than the last entry, each in a sentence."""
    last = entries[-1] if entries else None
    if last is None:
        if named is None:
            return []
        return [f"champion.json names version {named.version}, but the ledger has no entry."]
    if named is None:
        return [
            f"There is no champion.json, but by entry {last.number} version {last.to_version} is "
            f"in service. `cracks promote {last.to_version}` writes it again."
        ]
    compared = (
        ("version", named.version, last.to_version),
        ("run", named.run_id, last.run_id),
        ("bundle digest", named.bundle_digest, last.bundle_digest),
        ("transaction", named.transaction or last.transaction, last.transaction),
    )
    return [
        f"champion.json names {what} {found}, but by entry {last.number} of the ledger it is "
        f"{meant}."
        for what, found, meant in compared
        if found != meant
    ]
