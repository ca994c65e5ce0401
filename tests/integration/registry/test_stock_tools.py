"""What MLflow itself does with a registered model: keep it without a pickle, and serve it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from processes import TOOLS, StartProcess, free_port
from servers import tracking_address

from cracks.registry.mlflow_store.records import TrainingRecord
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.workspace.paths import Paths
from tests.integration.bundles import hand_over, make_bundle
from tests.integration.services import make_workspace, serving

pytestmark = pytest.mark.timeout(300)

MODEL = "models:/crack-classifier@champion"


@dataclass(frozen=True)
class Registered:
    """A champion in a local store."""

    record: TrainingRecord
    root: Path
    uri: str

    @property
    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def champion(
    record: TrainingRecord, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registered]:
    with tracking_address(None):
        paths = Paths(tmp_path_factory.mktemp("workspace"))
        tracking = Tracking(paths, "crack-classifier")
        run_id = tracking.runs.log(record)
        version = tracking.registry.register(run_id, {"verdict": "first"}, "words")
        tracking.registry.move_aliases(champion=version.version, previous=version.version)
        yield Registered(record, paths.local_tracking, tracking.uri)


def test_nothing_that_mlflow_keeps_of_a_model_is_a_pickle(champion: Registered) -> None:
    from pickletools import genops

    names = {path.name for path in champion.files}
    assert {"MLmodel", "model.keras", "input_example.json"} <= names
    assert not {path for path in champion.files if path.suffix in (".pkl", ".pickle", ".joblib")}
    for path in champion.files:
        content = path.read_bytes()
        if content[:1] == b"\x80":  # how every pickle since protocol 2 begins
            with pytest.raises(ValueError):  # noqa: PT011
                list(genops(content))


@pytest.mark.slow
def test_mlflow_serves_the_champion_and_its_clients_can_ask_the_service_instead(
    champion: Registered, start: StartProcess, tmp_path: Path
) -> None:
    from cracks.training.networks.keras_files import load_model

    port = free_port()
    options = f"--model-uri {MODEL} --env-manager local --host 127.0.0.1 --port {port}"
    process = start(
        [TOOLS / "mlflow", "models", "serve", *options.split()],
        variables={"MLFLOW_TRACKING_URI": champion.uri, "MLFLOW_DISABLE_TELEMETRY": "true"},
        name="mlflow models serve",
    )

    def is_up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ping", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    process.wait_until(is_up, "the model server", timeout=120)
    (example,) = (path for path in champion.files if path.name == "serving_input_example.json")
    response = httpx.post(
        f"http://127.0.0.1:{port}/invocations",
        content=example.read_bytes(),
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    given = np.array(json.loads(response.text)["predictions"], np.float32)
    trained = load_model(champion.record.model).predict(champion.record.example, verbose=0)
    np.testing.assert_allclose(given, trained, atol=1e-5)
    process.end()

    size = champion.record.example.shape[1]
    hand_over(tmp_path / "service", make_bundle(tmp_path / "bundle", size=size), "1")
    workspace = make_workspace(tmp_path / "workspace")
    with serving(start, workspace, tmp_path / "service") as service:
        service.wait_for_version("1")
        instead = service.client.post(
            "/invocations",
            content=example.read_bytes(),
            headers={"Content-Type": "application/json"},
        )
    assert instead.status_code == 200, instead.text
    assert np.shape(instead.json()["predictions"]) == given.shape
