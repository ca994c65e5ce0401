"""The ledger in a real MLflow: kept whole, and whatever is altered behind its back is named."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy
from processes import CHECKOUT
from servers import MlflowServers, tracking_address
from typer.testing import CliRunner, Result

from cracks.errors import TrackingError
from cracks.inference.bundle.bundle import Bundle, open_bundle
from cracks.inference.handover.champion import name_champion, open_champion
from cracks.registry.ledger import Entry
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.promotion.audit import audit
from cracks.registry.tags import LEDGER_TAG
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import Paths
from tests.integration.bundles import hand_over
from tests.integration.registered import register_version
from tests.unit.builders import entry_after, sealed_bundle

#: What is put into service, one after the other.
VERSIONS = ("1", "2", "3", "2")


@dataclass(frozen=True)
class Place:
    """A registry whose aliases, ledger and service agree, and the database below it."""

    tracking: Tracking
    paths: Paths
    database: str

    @property
    def client(self) -> Any:
        return self.tracking.connection.client

    def bundle(self, version: str) -> Bundle:
        """Return the bundle of a version, made when it is first asked for."""
        folder = self.paths.root / "bundles" / version
        return open_bundle(folder) if folder.is_dir() else sealed_bundle(folder, version.encode())

    def put_into_service(self, version: str, **changed: Any) -> Entry:
        """Do what a promotion does to the registry, the ledger and the service."""
        entry = self.following(version, **changed)
        self.tracking.registry.move_aliases(champion=version, previous=entry.from_version)
        champion = hand_over(self.paths.service, self.bundle(version), version)
        own = {"transaction": entry.transaction}
        name_champion(self.paths.service, champion.model_copy(update=own))
        self.tracking.ledger.append(entry)
        self.tracking.registry.tag(version, {LEDGER_TAG: entry.hash})
        return entry

    def following(self, version: str, **changed: Any) -> Entry:
        entries = self.tracking.ledger.entries()
        changed["bundle_digest"] = self.bundle(version).digest
        return entry_after(entries[-1] if entries else None, version, **changed)

    def problems(self) -> list[str]:
        return audit(self.tracking, self.paths.service).problems

    def cracks(self, *arguments: str) -> Result:
        from cli.app import app

        return CliRunner().invoke(app, ["-C", str(self.paths.root), *arguments])


@pytest.fixture(
    scope="module", params=["local", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def make_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Place]]:
    """Make places in one store."""
    root, server, numbers = tmp_path_factory.mktemp("workspace"), None, itertools.count(1)
    if request.param != "local":
        servers: MlflowServers = request.getfixturevalue("mlflow_servers")
        server = servers.server(request.param)

    def made(what: str) -> Place:
        paths, name = Paths(root), f"{what}-{next(numbers)}"
        shutil.rmtree(paths.service, ignore_errors=True)
        paths.service.mkdir()
        tracking = Tracking(paths, name)
        return Place(tracking, paths, server.database if server else tracking.uri)

    with tracking_address(server.url if server else None):
        yield made


@pytest.fixture
def place(make_place: Callable[[str], Place]) -> Place:
    """A model for this test alone, of three versions; one of them was in service twice."""
    place = make_place("model")
    for version in sorted(set(VERSIONS)):
        register_version(place.tracking, place.bundle(version))
    for version in VERSIONS:
        place.put_into_service(version)
    return place


# --- what is kept ---------------------------------------------------------------------------------


def test_a_ledger_is_empty_at_first_and_looking_into_it_makes_nothing(
    make_place: Callable[[str], Place],
) -> None:
    place = make_place("empty")
    assert place.tracking.ledger.entries() == []
    assert place.problems() == []
    assert place.client.get_experiment_by_name(f"{place.tracking.model_name}-ledger") is None


def test_entries_come_back_as_they_were_written_and_in_their_order(place: Place) -> None:
    entries = place.tracking.ledger.entries()
    assert [entry.to_version for entry in entries] == list(VERSIONS)
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    last = place.put_into_service("3", why="naïve 🧱 'quotes' \"too\"")
    assert place.tracking.ledger.entries() == [*entries, last]
    assert place.problems() == []


def test_the_experiment_can_be_read_by_a_person(place: Place) -> None:
    experiment = place.client.get_experiment_by_name(f"{place.tracking.model_name}-ledger")
    runs = place.client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    named = {run.info.run_name: run.data.tags for run in runs}
    assert set(named) == {
        "1 promote: version 1",
        "2 promote: version 2 for version 1",
        "3 promote: version 3 for version 2",
        "4 promote: version 2 for version 3",
    }
    expected = {"who": "Ann", "why": "reason 4", "from": "3", "to": "2", "verdict": "better"}
    assert named["4 promote: version 2 for version 3"].items() >= expected.items()


def test_the_same_transaction_writes_one_entry(place: Place) -> None:
    entry = place.following("3")
    for _ in range(2):
        place.tracking.ledger.append(entry)
    again = place.following("3", transaction=entry.transaction)
    place.tracking.ledger.append(again)
    assert [one.number for one in place.tracking.ledger.entries()] == [1, 2, 3, 4, 5]


def test_an_entry_that_does_not_follow_the_last_one_is_refused(place: Place) -> None:
    stale = place.following("3", transaction="a" * 32)
    place.put_into_service("1")
    with pytest.raises(TrackingError, match=r"entry 5 does not follow its last one \(5 promote"):
        place.tracking.ledger.append(stale)
    forged = place.following("3").model_copy(update={"previous": "f" * 64})
    with pytest.raises(TrackingError, match="does not follow"):
        place.tracking.ledger.append(forged)
    assert place.problems() == []


def test_what_a_killed_process_left_counts_for_nothing_and_is_removed(place: Place) -> None:
    experiment = place.client.get_experiment_by_name(f"{place.tracking.model_name}-ledger")
    left = place.client.create_run(experiment.experiment_id, run_name="5 promote: version 3")
    assert place.problems() == []
    place.put_into_service("3")
    assert [entry.number for entry in place.tracking.ledger.entries()] == [1, 2, 3, 4, 5]
    assert place.client.get_run(left.info.run_id).info.lifecycle_stage == "deleted"
    assert place.problems() == []


# --- what is altered ------------------------------------------------------------------------------


def test_one_byte_of_an_entry_altered_in_the_database_is_named(place: Place) -> None:
    _, second, third, _ = place.tracking.ledger.stored()
    engine = sqlalchemy.create_engine(place.database)
    for altered, key in ((second, "entry"), (third, "hash")):
        run_id = altered.place.removeprefix("run ")
        with engine.begin() as connection:
            spoil = "UPDATE params SET value = '#' || substr(value, 2) WHERE run_uuid = :run"
            values = {"run": run_id, "key": key}
            done = connection.execute(sqlalchemy.text(f"{spoil} AND key = :key"), values)
        assert done.rowcount == 1
        assert any(f"({altered.place}) was altered" in problem for problem in place.problems())
    engine.dispose()


def test_an_entry_that_was_deleted_in_mlflow_is_named(place: Place) -> None:
    run_id = place.tracking.ledger.stored()[0].place.removeprefix("run ")
    place.client.delete_run(run_id)
    (problem,) = place.problems()
    assert f"run {run_id}" in problem
    assert "was deleted in MLflow" in problem
    place.client.restore_run(run_id)
    assert place.problems() == []


def test_a_ledger_whose_experiment_was_deleted_is_named(place: Place) -> None:
    experiment = place.client.get_experiment_by_name(f"{place.tracking.model_name}-ledger")
    place.client.delete_experiment(experiment.experiment_id)
    assert len([one for one in place.problems() if "was deleted in MLflow" in one]) == 4


def test_what_was_altered_in_the_service_folder_is_named(place: Place) -> None:
    champion, bundle = open_champion(place.paths.service)
    weights, pointer = bundle.folder / "model.bin", place.paths.service / "champion.json"
    before = weights.read_bytes()
    weights.write_bytes(b"other weights")
    (problem,) = place.problems()
    assert str(bundle.folder) in problem
    weights.write_bytes(before)
    name_champion(place.paths.service, champion.model_copy(update={"version": "1"}))
    (problem,) = place.problems()
    assert problem.startswith("champion.json names version 1")
    pointer.write_text("{")
    (problem,) = place.problems()
    assert "champion.json is damaged" in problem


# --- `cracks models` ------------------------------------------------------------------------------


@pytest.fixture
def workspace(make_place: Callable[[str], Place]) -> Place:
    """A place that is a workspace, with one promotion."""
    place = make_place("model")
    shutil.copy(CHECKOUT / "params.yaml", place.paths.params)
    set_params(place.paths.params, [f"register.model_name={place.tracking.model_name}"])
    (place.paths.root / ".dvc").mkdir(exist_ok=True)
    (place.paths.root / "dvc.yaml").touch()
    register_version(place.tracking, place.bundle("1"))
    place.put_into_service("1")
    return place


def test_the_history_says_who_put_what_into_service_and_why(workspace: Place) -> None:
    shown = workspace.cracks("models", "--history")
    assert shown.exit_code == 0
    assert all(part in shown.stdout for part in ("Ann", "promote", "– → 1", "better", "reason 1"))
    (entry,) = json.loads(workspace.cracks("models", "--history", "--json").stdout)
    (known,) = workspace.tracking.ledger.entries()
    assert entry == known.model_dump() | {"hash": known.hash}


def test_an_unaltered_ledger_is_one_line_and_an_altered_one_is_every_problem(
    workspace: Place,
) -> None:
    shown = workspace.cracks("models", "--verify")
    assert (shown.exit_code, shown.stdout) == (
        0,
        "1 entry, unaltered; champion is version 1\n",
    )
    workspace.client.delete_registered_model_alias(workspace.tracking.model_name, "champion")
    (workspace.paths.service / "champion.json").unlink()
    shown = workspace.cracks("models", "--verify")
    assert shown.exit_code == 1
    alias, service = shown.stdout.splitlines()
    assert "alias champion" in alias
    assert "champion.json" in service
    told = json.loads(workspace.cracks("models", "--verify", "--json").stdout)
    assert (told["entries"], told["champion"], told["problems"]) == (1, "1", [alias, service])


def test_a_version_whose_run_is_gone_does_not_hide_the_others(workspace: Place) -> None:
    run_id = workspace.tracking.registry.version("1").run_id
    workspace.client.delete_run(run_id)
    shown = json.loads(workspace.cracks("models", "--json").stdout)
    assert [(one["version"], one["champion"]) for one in shown["versions"]] == [("1", True)]
