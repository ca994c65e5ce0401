"""Promotion as a transaction: the old champion serves until the new one does, whatever fails.

    take the lock ► check ► try ► move the aliases ► hand over ► wait for the service ► ledger

A failure before the ledger has its entry puts everything back. A process that was killed leaves its
intent in the tracking store: the next promotion or rollback finishes what had reached the service,
and undoes the rest.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from cracks.errors import (
    BundleError,
    CracksError,
    PromotionFailed,
    PromotionUnderway,
    ServiceError,
    TrackingError,
)
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.handover.champion import (
    Champion,
    name_champion,
    open_champion,
    read_champion,
    stage_bundle,
    staged_bundle,
    withdraw_champion,
)
from cracks.inference.handover.promotion_history import write_history
from cracks.inference.handover.service_processes import wait_for_service
from cracks.registry.ledger import Entry, following
from cracks.registry.mlflow_store.promotion_lock import PromotionIntent
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.mlflow_store.registered_bundle import fetch_bundle, registered_digest
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.promotion.smoke_test import smoke_test
from cracks.registry.tags import (
    BUNDLE_TAG,
    COMMIT_TAG,
    DATA_TAG,
    KERAS_TAG,
    LEDGER_TAG,
    LOCK_TAG,
    VERDICT_TAG,
)
from cracks.system.hashing import digest_of_file
from cracks.workspace.params import PromoteParams

logger = logging.getLogger("cracks.promotion")


@dataclass(frozen=True)
class PromotionRequest:
    """Who wants which version in service, and why."""

    kind: Literal["promote", "rollback"]
    version: str
    why: str
    who: str


class PromotionReport(TypedDict):
    """What a promotion or a rollback has done."""

    version: str
    previous: str | None  # that was in service before
    changed: bool
    settled: str | None  # what an interrupted promotion had left, in words
    processes: NotRequired[list[str]]  # of the service, that have loaded the version
    smoke_test: NotRequired[dict[str, Any]]  # a `SmokeTest`


def promote(
    request: PromotionRequest, tracking: Tracking, service: Path, limits: PromoteParams
) -> PromotionReport:
    """Put a version into service, or leave everything as it was.

    Doing it twice, or again after a crash, changes nothing more.

    Raises:
        TrackingError: there is no such version; PromotionUnderway: somebody else promotes.
        PromotionFailed: a step failed, and what became of it.
    """
    settled = recover_interrupted(tracking, service, limits)
    chosen = tracking.registry.version(request.version)
    last = _last(tracking.ledger.entries())
    if last and _is_promoted(chosen, last, service):
        previous = last.from_version
        tracking.registry.move_aliases(champion=chosen.version, previous=previous)
        return {
            "version": chosen.version,
            "previous": previous,
            "changed": False,
            "settled": settled,
        }
    intent = _intent(request, tracking, service, last)
    tracking.promotion_lock.take(intent)
    if _last(tracking.ledger.entries()) != last:
        tracking.promotion_lock.release(intent)
        raise PromotionUnderway(
            "Somebody else changed the champion just now. See `cracks models`, then try again."
        )
    report = _Transaction(intent, tracking, service, limits).run()
    return {**report, "settled": settled}


def recover_interrupted(tracking: Tracking, service: Path, limits: PromoteParams) -> str | None:
    """Finish or undo what a process that died in the middle of a promotion has left.

    Returns:
        What was done, in words; None if there was nothing.

    Raises:
        PromotionUnderway: the process lives.
    """
    left = tracking.promotion_lock.underway()
    if left is None:
        return None
    mine = tracking.promotion_lock.take_over(left)
    transaction = _Transaction(mine, tracking, service, limits)
    said = f"The {mine.noun} of version {mine.version} by {mine.who}, which was interrupted,"
    if transaction.is_handed_over() or transaction.entry():
        transaction.finish()
        settled = f"{said} was finished."
    else:
        transaction.undo()
        settled = f"{said} was undone."
    logger.warning("%s", settled)
    return settled


def _intent(
    request: PromotionRequest, tracking: Tracking, service: Path, last: Entry | None
) -> PromotionIntent:
    champion, previous = tracking.registry.champion(), tracking.registry.previous()
    in_service = _in_service(service)
    return PromotionIntent.of_this_process(
        kind=request.kind,
        version=request.version,
        why=request.why,
        who=request.who,
        from_version=last.to_version if last else champion and champion.version,
        champion_before=champion and champion.version,
        previous_before=previous and previous.version,
        in_service=in_service and in_service.model_dump_json(),
    )


def _is_promoted(chosen: ModelVersion, last: Entry, service: Path) -> bool:
    """Return whether a version is in service, whole, and the ledger knows."""
    if last.to_version != chosen.version:
        return False
    try:
        champion, _ = open_champion(service)
    except (BundleError, ServiceError):
        return False
    return champion.run_id == chosen.run_id and champion.version == chosen.version


def _in_service(service: Path) -> Champion | None:
    try:
        return read_champion(service)
    except ServiceError:
        return None  # damaged: promoting writes it again


def _last(entries: list[Entry]) -> Entry | None:
    return entries[-1] if entries else None


@dataclass
class _Transaction:
    """One change of the champion, by the process that holds the lock."""

    intent: PromotionIntent
    tracking: Tracking
    service: Path
    limits: PromoteParams
    step: str = "the beginning"  # where it stopped, if it fails

    def run(self) -> PromotionReport:
        """Do every step, or undo them all.

        Raises:
            PromotionFailed: at which step, and why.
        """
        with self._or_undone():
            chosen = self.tracking.registry.version(self.intent.version)
            with tempfile.TemporaryDirectory(prefix="cracks-") as name:
                self.step = "checking the bundle"
                bundle = self._checked(chosen, Path(name))
                self.step = "the smoke test"
                tried = smoke_test(bundle, self.limits, self._keras(chosen, bundle, Path(name)))
                self.step = "copying the bundle"
                champion = self._staged(chosen, bundle)
            processes = self._put_into_service(chosen, champion)
        self._release(chosen)
        return {
            "version": chosen.version,
            "previous": self.intent.from_version,
            "processes": processes,
            "smoke_test": asdict(tried),
            "changed": True,
            "settled": None,
        }

    def finish(self) -> None:
        """Do again whatever may be missing after the hand-over."""
        with self._or_undone():
            chosen = self.tracking.registry.version(self.intent.version)
            champion = read_champion(self.service)
            if champion and not self.entry():
                self._put_into_service(chosen, champion)
        self._release(chosen)

    def undo(self) -> None:
        """Put back what was there before, in the service and in the registry."""
        before, now = self.intent.in_service, _in_service(self.service)
        if now is None or now.transaction == self.intent.transaction:
            if before:
                name_champion(self.service, Champion.model_validate_json(before))
            else:
                withdraw_champion(self.service)
        self.tracking.registry.move_aliases(
            champion=self.intent.champion_before, previous=self.intent.previous_before
        )
        self.tracking.promotion_lock.release(self.intent)

    def is_handed_over(self) -> bool:
        """Return whether the service was given the version to load."""
        named = _in_service(self.service)
        return named is not None and named.transaction == self.intent.transaction

    def entry(self) -> Entry | None:
        """Return the ledger's entry of this transaction, if it is written."""
        entries = self.tracking.ledger.entries()
        return next((one for one in entries if one.transaction == self.intent.transaction), None)

    def _checked(self, chosen: ModelVersion, folder: Path) -> Bundle:
        """Return the registered bundle: of an earlier promotion, or fetched now."""
        digest = registered_digest(chosen)
        self.tracking.runs.require(chosen.run_id)
        staged = staged_bundle(self.service, digest, chosen.version)
        return staged or fetch_bundle(chosen, self.tracking, folder)

    def _keras(self, chosen: ModelVersion, bundle: Bundle, folder: Path) -> Path | None:
        """Return the Keras model to try, unaltered; None where the bundle is tried alone."""
        # A version that was promoted before has shown that both agree, and a rollback is urgent.
        if not bundle.golden or LEDGER_TAG in chosen.tags:
            return None
        keras = self.tracking.registry.download_keras_model(chosen.version, folder)
        if digest_of_file(keras) != self.tracking.runs.tags(chosen.run_id).get(KERAS_TAG):
            raise BundleError(
                f"The Keras model of version {chosen.version} was altered: it has not the SHA-256 "
                f"that its run has as {KERAS_TAG}."
            )
        return keras

    def _staged(self, chosen: ModelVersion, bundle: Bundle) -> Champion:
        """Copy the bundle to where the service finds it, and return what will name it."""
        return Champion(
            model_name=chosen.name,
            version=chosen.version,
            run_id=chosen.run_id,
            bundle=stage_bundle(self.service, bundle, chosen.version),
            bundle_digest=chosen.tags[BUNDLE_TAG],
            promoted_at=datetime.now(UTC).isoformat(timespec="seconds"),
            transaction=self.intent.transaction,
        )

    def _put_into_service(self, chosen: ModelVersion, champion: Champion) -> list[str]:
        """Move the aliases, hand over and write the ledger; return the processes that serve it.

        Each step may be done again.
        """
        self.step = "moving the aliases"
        self.tracking.registry.move_aliases(
            champion=self.intent.version, previous=self.intent.from_version
        )
        self.step = "handing over"
        name_champion(self.service, champion)
        self.step = "waiting for the service"
        processes = wait_for_service(self.service, champion, self.limits.service_timeout)
        self.step = "writing the ledger"
        self._write_entry(chosen)
        return processes

    def _write_entry(self, chosen: ModelVersion) -> None:
        entry = following(
            _last(self.tracking.ledger.entries()),
            kind=self.intent.kind,
            transaction=self.intent.transaction,
            who=self.intent.who,
            from_version=self.intent.from_version,
            to_version=chosen.version,
            why=self.intent.why,
            verdict=chosen.tags.get(VERDICT_TAG, ""),
            run_id=chosen.run_id,
            git_commit=chosen.tags.get(COMMIT_TAG, ""),
            dvc_lock_digest=chosen.tags.get(LOCK_TAG, ""),
            data_digest=chosen.tags.get(DATA_TAG, ""),
            bundle_digest=chosen.tags[BUNDLE_TAG],
        )
        try:
            self.tracking.ledger.append(entry)
        except TrackingError:
            if not self.entry():  # else only the response was lost
                raise

    def _release(self, chosen: ModelVersion) -> None:
        """Anchor the entry at its version, where a cut-off ledger shows, and release the lock."""
        if entry := self.entry():
            self.tracking.registry.tag(chosen.version, {LEDGER_TAG: entry.hash})
            history = [one.history_row for one in self.tracking.ledger.entries()]
            try:
                write_history(self.service, history)
            except OSError as error:  # the service works all the same
                logger.warning("the service's page does not know of this yet: %s", error)
        self.tracking.promotion_lock.release(self.intent)

    @contextmanager
    def _or_undone(self) -> Iterator[None]:
        """Undo everything if a step fails; what cannot be undone now, the next command will.

        Raises:
            PromotionFailed: at which step, and why, if the error is one that a user can act on.
        """
        try:
            yield
        except BaseException as error:
            is_transient = isinstance(error, CracksError) and error.is_transient
            reason = str(error) if isinstance(error, CracksError) else type(error).__name__
            stopped = (
                f"The {self.intent.noun} of version {self.intent.version} stopped at {self.step}: "
                f"{reason.rstrip('.')}."
            )
            try:
                self.undo()
            except CracksError as again:
                raise PromotionFailed(
                    f"{stopped} Undoing it failed too ({str(again).rstrip('.')}); the next "
                    "`cracks promote` or `cracks rollback` will.",
                    is_transient=is_transient,
                ) from error
            if not isinstance(error, CracksError):
                raise
            left = self.intent.from_version
            stays = f"Version {left} stays the champion." if left else "There is no champion yet."
            raise PromotionFailed(f"{stopped} {stays}", is_transient=is_transient) from error
