"""From photographs to a served prediction: the worker trains, and the service predicts with it."""

from __future__ import annotations

import pytest

from tests.stack.conftest import RunningStack, Training

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


def test_the_service_predicts_with_the_model_that_the_worker_trained(
    stack: RunningStack, trained: Training
) -> None:
    (version,) = stack.versions()
    named = {"name": version["name"], "alias": "champion"}
    response = stack.mlflow("GET", "/api/2.0/mlflow/registered-models/alias", params=named)
    assert response.json()["model_version"]["version"] == version["version"] == "1"
    predictions = stack.predict(trained.photographs)
    assert [one["label"] for one in predictions] == list(trained.photographs)
    assert {one["run_id"] for one in predictions} == {version["run_id"]}
    assert stack.status()["serving"]["health"] == "healthy, version 1 is in service"


def test_what_was_trained_lies_in_the_bucket(stack: RunningStack, trained: Training) -> None:
    (version,) = stack.versions()
    found = list((stack.place.storage / "mlflow/artifacts").rglob(f"*/{version['run_id']}/**/*"))
    assert any("bundle" in path.parts for path in found)


def test_nothing_listens_beyond_this_machine_while_it_trains(
    stack: RunningStack, trained: Training
) -> None:
    assert {address for address, _ in trained.listening} == {"127.0.0.1"}
    assert {port for _, port in trained.listening} >= set(stack.ports.values())
