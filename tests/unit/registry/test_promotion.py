"""Promotion: nobody's change is overwritten, and the ledger says what the service has taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from cracks.errors import PromotionFailed, PromotionUnderway
from cracks.inference.handover.champion import name_champion, read_champion, stage_bundle
from cracks.inference.handover.service_processes import ServiceReporter
from cracks.registry.ledger import Entry
from cracks.registry.mlflow_store.promotion_lock import PromotionIntent
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.promotion import transaction
from cracks.registry.promotion.smoke_test import SmokeTest
from cracks.registry.promotion.transaction import PromotionRequest, promote, recover_interrupted
from cracks.registry.tags import BUNDLE_TAG, KERAS_TAG
from tests.unit.builders import champion_of, entry_after, params_with, sealed_bundle, write_files

LIMITS = params_with().promote.model_copy(update={"service_timeout": 0.1})

#: Bytes that a bundle keeps as its golden patches; nothing here looks into them.
GOLDEN = {"golden.parquet": b"golden"}


@dataclass
class Store:
    """What promotion uses of a tracking store, in memory; it stands for every part of one."""

    folder: Path
    digests: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str | None] = field(default_factory=dict)
    written: list[Entry] = field(default_factory=list)
    held: PromotionIntent | None = None
    #: What somebody else does just before the lock is taken.
    meanwhile: Callable[[], None] = lambda: None
    keras: str = ""  # the digest of the Keras model that each run says

    @property
    def tracking(self) -> Tracking:
        return cast(Tracking, self)

    @property
    def registry(self) -> Store:
        return self

    ledger = runs = promotion_lock = registry

    def version(self, number: str) -> ModelVersion:
        tags = {BUNDLE_TAG: self.digests[number]}
        return ModelVersion("classifier", number, f"run-{number}", tags=tags)

    def champion(self) -> ModelVersion | None:
        return self._named("champion")

    def previous(self) -> ModelVersion | None:
        return self._named("previous")

    def _named(self, alias: str) -> ModelVersion | None:
        number = self.aliases.get(alias)
        return self.version(number) if number else None

    def move_aliases(self, **aliases: str | None) -> None:
        self.aliases = aliases

    def download_keras_model(self, _number: str, folder: Path) -> Path:
        return write_files(folder, {"model.keras": b"a Keras model"}) / "model.keras"

    def require(self, _run_id: str) -> None: ...

    def tags(self, _run_id: str) -> dict[str, str]:
        return {KERAS_TAG: self.keras}

    def tag(self, _number: str, _tags: Any) -> None: ...

    def entries(self) -> list[Entry]:
        return list(self.written)

    def append(self, entry: Entry) -> None:
        self.written.append(entry)

    def underway(self) -> PromotionIntent | None:
        return self.held

    def take(self, intent: PromotionIntent) -> None:
        self.meanwhile()
        if self.held:
            raise PromotionUnderway("somebody else promotes")
        self.held = intent

    def take_over(self, left: PromotionIntent) -> PromotionIntent:
        self.held = left.taken_over()
        return self.held

    def release(self, intent: PromotionIntent) -> None:
        if self.held == intent:
            self.held = None

    # --- for the tests ----------------------------------------------------------------------------

    @property
    def service(self) -> Path:
        return self.folder / "service"

    def add(self, number: str, files: dict[str, bytes]) -> None:
        """Add a version whose bundle an earlier command has left in the service folder."""
        folder = write_files(self.folder / "bundles" / number, files)
        bundle = sealed_bundle(folder, number.encode())
        self.digests[number] = bundle.digest
        stage_bundle(self.service, bundle, number)

    def hand_over(self, number: str, own: str = "") -> None:
        """Let champion.json name a version, as the transaction `own` does."""
        digest = self.digests[number]
        champion = champion_of(number, digest, f"v{number}-{digest[:12]}")
        name_champion(self.service, champion.model_copy(update={"transaction": own}))

    def put_into_service(self, number: str) -> None:
        """Do all that a promotion does."""
        last = self.written[-1] if self.written else None
        entry = entry_after(last, number, bundle_digest=self.digests[number])
        self.written.append(entry)
        self.hand_over(number, entry.transaction)
        self.aliases = {"champion": number, "previous": entry.from_version}

    @property
    def state(self) -> tuple[str | None, str, list[str], bool]:
        """Return the champion of alias, service and ledger, and whether the lock is free."""
        named = read_champion(self.service)
        ledger = [entry.to_version for entry in self.written]
        return self.aliases["champion"], named.version if named else "", ledger, not self.held

    def promote(self, number: str) -> Any:
        request = PromotionRequest("promote", number, "a test", "Ann")
        return promote(request, self.tracking, self.service, LIMITS)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """The Keras models that a smoke test has loaded: here all of them pass."""
    found: list[Path | None] = []

    def passes(_bundle: object, _limits: object, keras: Path | None = None) -> SmokeTest:
        found.append(keras)
        return SmokeTest(1)

    monkeypatch.setattr(transaction, "smoke_test", passes)
    return found


@pytest.fixture
def store(tmp_path: Path, tried: list[Path | None]) -> Store:
    """Versions 1, 2 and 3, of which the first is in service."""
    store = Store(tmp_path)
    for number in "123":
        store.add(number, {})
    store.put_into_service("1")
    return store


def begun_by_another(store: Store, number: str) -> PromotionIntent:
    """Let the lock say that another process promotes a version."""
    before = read_champion(store.service)
    assert before
    store.held = PromotionIntent.of_this_process(
        kind="promote",
        version=number,
        why="a test",
        who="Bob",
        from_version="1",
        champion_before="1",
        previous_before=None,
        in_service=before.model_dump_json(),
    )
    return store.held


def test_alias_service_and_ledger_name_what_was_promoted(store: Store) -> None:
    assert store.promote("2")["previous"] == "1"
    assert store.state == ("2", "2", ["1", "2"], True)


def test_whoever_comes_second_changes_nothing(store: Store) -> None:
    store.meanwhile = lambda: cast(None, begun_by_another(store, "3"))
    with pytest.raises(PromotionUnderway, match="somebody else promotes"):
        store.promote("2")
    assert store.state == ("1", "1", ["1"], False)


def test_what_was_promoted_just_before_the_lock_was_taken_is_not_overwritten(store: Store) -> None:
    store.meanwhile = lambda: store.put_into_service("3")
    with pytest.raises(PromotionUnderway, match="Somebody else changed the champion just now"):
        store.promote("2")
    assert store.state == ("3", "3", ["1", "3"], True)


@pytest.mark.parametrize("handed_over", [True, False])
def test_of_an_interrupted_promotion_what_reached_the_service_is_finished_and_the_rest_undone(
    store: Store, handed_over: bool
) -> None:
    left = begun_by_another(store, "2")
    store.move_aliases(champion="2", previous="1")
    if handed_over:
        store.hand_over("2", left.transaction)
    said = recover_interrupted(store.tracking, store.service, LIMITS)
    assert said
    assert said.endswith("was finished." if handed_over else "was undone.")
    assert store.state == (("2", "2", ["1", "2"], True) if handed_over else ("1", "1", ["1"], True))


def test_what_the_service_does_not_take_never_stands_in_the_ledger(store: Store) -> None:
    ServiceReporter(store.service).tell(read_champion(store.service), None, None)
    with pytest.raises(PromotionFailed, match="stopped at waiting for the service"):
        store.promote("2")
    assert store.state == ("1", "1", ["1"], True)


def test_a_keras_model_that_was_altered_is_never_loaded(
    store: Store, tried: list[Path | None]
) -> None:
    store.add("4", GOLDEN)
    store.keras = "0" * 64
    with pytest.raises(PromotionFailed, match="The Keras model of version 4 was altered"):
        store.promote("4")
    assert tried == []
    assert store.state == ("1", "1", ["1"], True)
