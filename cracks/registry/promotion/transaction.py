"""Promotion as a transaction: the old champion serves until the new one does, whatever fails.

    take the lock ► check ► try ► move the aliases ► hand over ► wait for the service ► ledger

A failure before the ledger has its entry puts everything back. A process that was killed leaves its
intent in the tracking store: the next promotion or rollback finishes what had reached the service,
and undoes the rest.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
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
from cracks.registry.promotion.smoke_test import SmokeTest, smoke_test
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
    processes: NotRequired[list[str]]  # of the service, that answer with the version now
    smoke_test: NotRequired[dict[str, Any]]  # as `SmokeTest.as_json` gives it


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
    return _Transaction(intent, tracking, service, limits).run(settled)


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
    if transaction.is_handed_over() or transaction.is_in_ledger():
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


class _Transaction:
    """One change of the champion, by the process that holds the lock."""

    def __init__(
        self, intent: PromotionIntent, tracking: Tracking, service: Path, limits: PromoteParams
    ) -> None:
        self._intent, self._tracking = intent, tracking
        self._service, self._limits = service, limits
        self._step = "the beginning"

    def run(self, settled: str | None) -> PromotionReport:
        """Do every step, or undo them all.

        Args:
            settled: what an interrupted promotion had left, in words, for the report.

        Raises:
            PromotionFailed: at which step, and why.
        """
        try:
            chosen = self._tracking.registry.version(self._intent.version)
            with tempfile.TemporaryDirectory(prefix="cracks-") as name:
                self._step = "checking the bundle"
                bundle = self._checked(chosen, Path(name))
                self._step = "the smoke test"
                tried = self._tried(chosen, bundle, Path(name))
                self._step = "copying the bundle"
                champion = self._champion(
                    chosen, stage_bundle(self._service, bundle, chosen.version)
                )
            self._step = "moving the aliases"
            self._move_aliases()
            self._step = "handing over"
            name_champion(self._service, champion)
            processes = self._wait_for_service(champion)
            self._write_entry(chosen)
        except BaseException as error:
            self._undo_after(error)
            raise
        self._release(chosen)
        return {
            "version": chosen.version,
            "previous": self._intent.from_version,
            "processes": processes,
            "smoke_test": tried.as_json(),
            "changed": True,
            "settled": settled,
        }

    def finish(self) -> None:
        """Do again whatever may be missing after the hand-over."""
        try:
            chosen = self._tracking.registry.version(self._intent.version)
            champion = read_champion(self._service)
            if champion and not self.is_in_ledger():
                self._step = "moving the aliases"
                self._move_aliases()
                self._wait_for_service(champion)
                self._write_entry(chosen)
        except BaseException as error:
            self._undo_after(error)
            raise
        self._release(chosen)

    def undo(self) -> None:
        """Put back what was there before, in the service and in the registry."""
        before, now = self._intent.in_service, _in_service(self._service)
        if now is None or now.transaction == self._intent.transaction:
            if before:
                name_champion(self._service, Champion.model_validate_json(before))
            else:
                withdraw_champion(self._service)
        self._tracking.registry.move_aliases(
            champion=self._intent.champion_before, previous=self._intent.previous_before
        )
        self._tracking.promotion_lock.release(self._intent)

    def is_handed_over(self) -> bool:
        """Return whether the service was given the version to load."""
        named = _in_service(self._service)
        return named is not None and named.transaction == self._intent.transaction

    def is_in_ledger(self) -> bool:
        """Return whether the entry of this transaction is written."""
        return self._entry_among(self._tracking.ledger.entries()) is not None

    def _entry_among(self, entries: list[Entry]) -> Entry | None:
        return next((one for one in entries if one.transaction == self._intent.transaction), None)

    def _checked(self, chosen: ModelVersion, folder: Path) -> Bundle:
        """Return the registered bundle: of an earlier promotion, or fetched now."""
        digest = registered_digest(chosen)
        self._tracking.runs.require(chosen.run_id)
        staged = staged_bundle(self._service, digest, chosen.version)
        return staged or fetch_bundle(chosen, self._tracking, folder)

    def _tried(self, chosen: ModelVersion, bundle: Bundle, folder: Path) -> SmokeTest:
        keras = None
        # A version that was promoted before has shown that both agree, and a rollback is urgent.
        if bundle.golden and LEDGER_TAG not in chosen.tags:
            keras = self._tracking.registry.download_keras_model(chosen.version, folder)
            self._require_unaltered(chosen, keras)
        return smoke_test(bundle, self._limits, keras)

    def _require_unaltered(self, chosen: ModelVersion, keras: Path) -> None:
        """Compare the Keras model with its digest before it is loaded."""
        if digest_of_file(keras) != self._tracking.runs.tags(chosen.run_id).get(KERAS_TAG):
            raise BundleError(
                f"The Keras model of version {chosen.version} was altered: it has not the SHA-256 "
                f"that its run has as {KERAS_TAG}."
            )

    def _move_aliases(self) -> None:
        self._tracking.registry.move_aliases(
            champion=self._intent.version, previous=self._intent.from_version
        )

    def _champion(self, chosen: ModelVersion, bundle: str) -> Champion:
        return Champion(
            model_name=chosen.name,
            version=chosen.version,
            run_id=chosen.run_id,
            bundle=bundle,
            bundle_digest=chosen.tags[BUNDLE_TAG],
            promoted_at=datetime.now(UTC).isoformat(timespec="seconds"),
            transaction=self._intent.transaction,
        )

    def _wait_for_service(self, champion: Champion) -> list[str]:
        self._step = "waiting for the service"
        return wait_for_service(self._service, champion, self._limits.service_timeout)

    def _write_entry(self, chosen: ModelVersion) -> None:
        self._step, tags = "writing the ledger", chosen.tags
        entry = following(
            _last(self._tracking.ledger.entries()),
            kind=self._intent.kind,
            transaction=self._intent.transaction,
            who=self._intent.who,
            from_version=self._intent.from_version,
            to_version=chosen.version,
            why=self._intent.why,
            verdict=tags.get(VERDICT_TAG, ""),
            run_id=chosen.run_id,
            git_commit=tags.get(COMMIT_TAG, ""),
            dvc_lock_digest=tags.get(LOCK_TAG, ""),
            data_digest=tags.get(DATA_TAG, ""),
            bundle_digest=tags[BUNDLE_TAG],
        )
        try:
            self._tracking.ledger.append(entry)
        except TrackingError:
            if not self.is_in_ledger():  # else only the response was lost
                raise

    def _release(self, chosen: ModelVersion) -> None:
        """Anchor the entry at its version, where a cut-off ledger shows, and release the lock."""
        entries = self._tracking.ledger.entries()
        entry = self._entry_among(entries)
        if entry:
            self._tracking.registry.tag(chosen.version, {LEDGER_TAG: entry.hash})
            self._tell_history(entries)
        self._tracking.promotion_lock.release(self._intent)

    def _tell_history(self, entries: list[Entry]) -> None:
        try:
            write_history(self._service, [entry.history_row for entry in entries])
        except OSError as error:  # the service works all the same
            logger.warning("the service's page does not know of this yet: %s", error)

    def _undo_after(self, error: BaseException) -> None:
        """Undo, and say where it stopped; what cannot be undone now, the next command will.

        Raises:
            PromotionFailed: if the error is one that a user can act on.
        """
        reason = str(error) if isinstance(error, CracksError) else type(error).__name__
        is_transient = isinstance(error, CracksError) and error.is_transient
        stopped = (
            f"The {self._intent.noun} of version {self._intent.version} stopped at {self._step}: "
            f"{reason.rstrip('.')}."
        )
        try:
            self.undo()
        except CracksError as again:
            raise PromotionFailed(
                f"{stopped} Undoing it failed too ({str(again).rstrip('.')}); the next `cracks "
                "promote` or `cracks rollback` will.",
                is_transient=is_transient,
            ) from error
        if isinstance(error, CracksError):
            left = self._intent.from_version
            stays = f"Version {left} stays the champion." if left else "There is no champion yet."
            raise PromotionFailed(f"{stopped} {stays}", is_transient=is_transient) from error
