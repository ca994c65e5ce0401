"""Dump, wipe, restore elsewhere: the same answers. The last file, for it ends the stack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from infra.stack.leftovers import processes
from tests.stack.conftest import Facts, RunningStack, Training

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Restored:
    stack: RunningStack
    answered_before: list[Facts]
    flow_run: Facts
    #: What `make down` said, each time.
    downs: list[str]
    only_postgresql: dict[str, Facts]
    #: What lay in S3 when all had ended.
    bucket: list[str]


@pytest.fixture(scope="module")
def restored(
    stack: RunningStack,
    trained: Training,
    new_stack: Callable[[], RunningStack],
    tmp_path_factory: pytest.TempPathFactory,
) -> Restored:
    """The stack in another folder and on other ports; of the old one nothing is left."""
    stack.up()
    answered = stack.predict(trained.photographs)
    kept = tmp_path_factory.mktemp("kept")
    stack.backup("save", kept)
    shutil.copy(stack.place.secrets, kept / "secrets.env")
    downs = [stack.make("down").stdout for _ in range(2)]
    assert processes(stack.place) == []
    bucket = [str(one.relative_to(stack.place.storage)) for one in stack.place.storage.rglob("*")]
    shutil.rmtree(stack.place.folder)
    elsewhere = new_stack()
    shutil.copy(kept / "secrets.env", elsewhere.place.secrets)
    elsewhere.up("postgresql")
    only_postgresql = elsewhere.status()
    elsewhere.backup("restore", kept)
    elsewhere.up()
    return Restored(elsewhere, answered, trained.flow_run, downs, only_postgresql, bucket)


def test_make_down_ends_every_process_and_keeps_the_data(restored: Restored) -> None:
    first, second = restored.downs
    assert first.startswith("The stack is down; its data stays in ")
    assert second == "The stack is down already.\n"
    # The last answers too: the service uploads them before it ends.
    assert any(one.startswith("answers/") and one.endswith(".parquet") for one in restored.bucket)


def test_one_service_can_be_up_alone(restored: Restored) -> None:
    healthy = {name for name, one in restored.only_postgresql.items() if one["healthy"]}
    assert healthy == {"postgresql"}


def test_the_same_version_gives_the_same_prediction(restored: Restored, trained: Training) -> None:
    assert restored.stack.unhealthy() == {}
    answered = restored.stack.predict(trained.photographs)
    assert _said(answered) == _said(restored.answered_before)
    assert {one["run_id"] for one in answered} == {
        version["run_id"] for version in restored.stack.versions()
    }


def _said(predictions: list[Facts]) -> list[Facts]:
    """Leave out the id, which no two predictions share."""
    return [one | {"prediction_id": ""} for one in predictions]


def test_the_ledger_verifies(restored: Restored, trained: Training) -> None:
    done = restored.stack.cracks(trained.workspace, "models", "--verify")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_answer_of_before_is_followed_to_its_data(restored: Restored, trained: Training) -> None:
    asked = str(restored.answered_before[0]["prediction_id"])
    done = restored.stack.cracks(trained.workspace, "trace", asked, "--json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prefect_knows_what_it_ran(restored: Restored) -> None:
    known = restored.stack.prefect("GET", f"/flow_runs/{restored.flow_run['id']}")
    assert known["state"]["type"] == "COMPLETED"
