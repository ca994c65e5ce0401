"""MLflow, as a server and as the local database: what a run says, versions, and the champion."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from processes import free_port
from servers import tracking_address

from cracks.errors import CracksError, TrackingError, TrackingUnavailable
from cracks.inference.bundle.bundle import open_bundle
from cracks.registry.mlflow_store.connection import LONGEST_PARAM
from cracks.registry.mlflow_store.model_versions import Registry
from cracks.registry.mlflow_store.records import TrainingRecord
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.tags import ACTION_TAG, BUNDLE_TAG, REASON_TAG, VERDICT_TAG
from cracks.workspace.paths import Paths
from tests.integration.registry.conftest import SIZE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MODEL_NAME = "crack-classifier"


@dataclass(frozen=True)
class Store:
    """A tracking store with a finished run in it."""

    paths: Paths
    tracking: Tracking
    record: TrainingRecord
    run_id: str
    seconds: float  # that writing the run took

    @property
    def client(self) -> MlflowClient:
        return self.tracking.connection.client

    @property
    def run(self) -> Run:
        return self.client.get_run(self.run_id)

    def log_another(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Write a second run of the same training under another name; return its id."""
        return self.tracking.runs.log(replace(self.record, name=name, tags=tags or {}))


@pytest.fixture(scope="module", params=["local", "server"])
def store(
    request: pytest.FixtureRequest,
    record: TrainingRecord,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Store]:
    local = request.param == "local"
    address = None if local else request.getfixturevalue("mlflow_server")
    with tracking_address(address):
        paths = Paths(tmp_path_factory.mktemp("workspace"))
        tracking = Tracking(paths, MODEL_NAME)
        start = time.monotonic()
        run_id = tracking.runs.log(record)
        yield Store(paths, tracking, record, run_id, time.monotonic() - start)


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_is_finished_and_says_what_it_was_told(store: Store) -> None:
    info, params = store.run.info, store.run.data.params
    assert (info.status, info.run_name) == ("FINISHED", "cnn-1f0a2b3c")
    assert store.client.get_experiment(info.experiment_id).name == "concrete-crack-training"
    assert (params["train.epochs"], params["featurize.weights"]) == ("2", "none")
    assert params["a long one"] == "x" * LONGEST_PARAM
    metrics = store.tracking.runs.metrics(store.run_id)
    assert metrics.items() >= {"test.accuracy": 0.9, "test.recall": 0.8, "threshold": 0.5}.items()
    assert store.tracking.runs.tags(store.run_id).items() >= store.record.tags.items()


def test_a_run_is_written_within_seconds(store: Store) -> None:
    # Left to find out by itself what the model needs, MLflow takes a quarter of a minute longer.
    assert store.seconds < 12


def test_a_run_says_its_losses_epoch_by_epoch(store: Store) -> None:
    history = store.client.get_metric_history(store.run_id, "epoch.val_loss")
    assert [(one.step, one.value) for one in history] == [(1, 0.6), (2, 0.5)]


def test_what_a_run_keeps_comes_back_unaltered(store: Store, tmp_path: Path) -> None:
    download = partial(store.tracking.runs.download, store.run_id, folder=tmp_path)
    assert download("params.yaml").read_text() == "train:\n  epochs: 2\n"
    assert download("figures/evaluate/roc.png").read_bytes() == b"a picture"
    assert open_bundle(download("bundle")).digest == store.record.tags[BUNDLE_TAG]
    with pytest.raises(TrackingError, match=r"keeps no figures/evaluate/absent\.png"):
        download("figures/evaluate/absent.png")


def test_a_run_says_which_data_it_learned_from(store: Store) -> None:
    (used,) = store.run.inputs.dataset_inputs
    assert used.dataset.name == "concrete-patches"
    assert used.dataset.digest == store.record.data_digest
    columns = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["id", "label", "row"]


def test_the_logged_model_says_what_it_takes_gives_and_needs(store: Store) -> None:
    import mlflow

    mlflow.set_tracking_uri(store.tracking.uri)
    info = mlflow.models.get_model_info(f"runs:/{store.run_id}/model")
    (taken,), (given,) = info.signature.inputs.inputs, info.signature.outputs.inputs
    assert (taken.type, taken.shape) == (np.dtype(np.uint8), (-1, SIZE, SIZE, 3))
    assert (given.type, given.shape) == (np.dtype(np.float32), (-1, 1))
    example = mlflow.pyfunc.load_model(info.model_uri).input_example
    np.testing.assert_array_equal(example["image"], store.record.example)
    requirements = mlflow.pyfunc.get_model_dependencies(f"runs:/{store.run_id}/model")
    names = [line.partition("==")[0] for line in Path(requirements).read_text().split()]
    assert names == ["mlflow", "tensorflow", "keras", "numpy"]


def test_the_run_of_a_bundle_is_found_by_its_digest(store: Store) -> None:
    assert store.tracking.runs.of_bundle(store.record.tags[BUNDLE_TAG]) == store.run_id
    assert store.tracking.runs.of_bundle("f" * 64) is None


@pytest.mark.parametrize("missing", ["model", "bundle", "figures"])
def test_a_run_that_fails_half_way_is_marked_and_not_found_by_its_bundle(
    store: Store, tmp_path: Path, missing: str
) -> None:
    import mlflow

    absent, digest = tmp_path / "absent", f"no {missing}"
    spoilt: dict[str, Any] = {missing: [absent] if missing == "figures" else absent}
    half = replace(store.record, name=f"half {missing}", tags={BUNDLE_TAG: digest}, **spoilt)
    with pytest.raises((CracksError, OSError), match="absent"):
        store.tracking.runs.log(half)
    runs = store.client.search_runs(
        [store.run.info.experiment_id], f"attributes.run_name = 'half {missing}'"
    )
    assert {run.info.status for run in runs} == {"FAILED"} or (missing == "bundle" and not runs)
    assert store.tracking.runs.of_bundle(digest) is None
    assert mlflow.active_run() is None


def test_a_run_whose_recording_broke_off_is_marked_by_the_next_of_its_bundle(store: Store) -> None:
    tags = {BUNDLE_TAG: "given up"}
    left = store.client.create_run(store.run.info.experiment_id, tags=tags).info.run_id
    whole = store.log_another("whole", tags)
    assert store.client.get_run(left).info.status == "KILLED"
    assert store.tracking.runs.of_bundle("given up") == whole


def test_a_run_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(TrackingError, match="ffffffffffffffff"):
        store.tracking.runs.tags("f" * 32)


# --- versions -------------------------------------------------------------------------------------


@pytest.fixture
def registry(store: Store, request: pytest.FixtureRequest) -> Registry:
    """The registry of the store, with a registered model for this test alone."""
    name = request.node.name.partition("[")[0][-60:]
    return Tracking(store.paths, name).registry


def test_registering_a_run_twice_makes_one_version(store: Store, registry: Registry) -> None:
    first = registry.register(store.run_id, {VERDICT_TAG: "better"}, "words")
    again = registry.register(store.run_id, {VERDICT_TAG: "better"}, "words")
    assert (first.version, first.run_id) == (again.version, again.run_id) == ("1", store.run_id)
    assert [one.version for one in registry.versions()] == ["1"]


def test_a_version_says_its_tags_and_when_it_was_made(store: Store, registry: Registry) -> None:
    registry.register(store.run_id, {VERDICT_TAG: "better", REASON_TAG: "y" * 9000}, "words")
    (version,) = registry.versions()
    assert version.tags[VERDICT_TAG] == "better"
    assert version.tags[REASON_TAG] == "y" * 5000
    assert time.time() - 600 < version.created <= time.time()
    described = store.client.get_model_version(registry.model_name, "1")
    assert described.description == "words"


def test_the_aliases_move_and_can_be_taken_away(store: Store, registry: Registry) -> None:
    runs = [store.run_id, store.log_another("a second one")]
    for run_id in runs:
        registry.register(run_id, {}, "")
    assert registry.champion() is None

    for version, before in (("1", None), ("2", "1"), ("2", "1"), ("1", "2")):
        registry.move_aliases(champion=version, previous=before)
        champion, previous = registry.champion(), registry.previous()
        assert champion is not None
        assert (champion.version, champion.run_id) == (version, runs[int(version) - 1])
        assert champion.aliases == ["champion"]
        assert (previous and previous.version) == before
    assert [(one.version, one.aliases) for one in registry.versions()] == [
        ("2", ["previous"]),
        ("1", ["champion"]),
    ]
    for _ in range(2):
        registry.move_aliases(champion=None, previous=None)
        assert (registry.champion(), registry.previous()) == (None, None)


def test_the_model_of_the_champion_is_loaded_by_its_alias_and_predicts_as_the_saved_one(
    store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from cracks.training.networks.fit import score
    from cracks.training.networks.keras_files import load_model

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    registry.register(store.run_id, {}, "")
    registry.move_aliases(champion="1", previous=None)
    mlflow.set_tracking_uri(store.tracking.uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{registry.model_name}@champion")
    expected = score(load_model(store.record.model), store.record.example)
    assert expected[0] != expected[1]
    assert loaded.predict(store.record.example)[:, 0] == pytest.approx(expected, abs=1e-6)


def test_a_version_that_does_not_exist_cannot_be_champion(store: Store, registry: Registry) -> None:
    registry.register(store.run_id, {}, "")
    with pytest.raises(TrackingError, match="7"):
        registry.move_aliases(champion="7", previous=None)
    assert registry.champion() is None


@pytest.mark.parametrize("number", ["7", "0", "one", "", "champion", "1.0"])
def test_a_version_that_there_is_not_is_refused_with_a_remedy(
    store: Store, registry: Registry, number: str
) -> None:
    registry.register(store.run_id, {}, "")
    assert registry.version("1").run_id == store.run_id
    with pytest.raises(TrackingError, match=r"has no version .*`cracks models`") as refusal:
        registry.version(number)
    assert "\n" not in str(refusal.value)


def test_a_version_of_another_model_is_none_of_this_one(store: Store, registry: Registry) -> None:
    other = Tracking(store.paths, f"other-{registry.model_name}"[:60]).registry
    other.register(store.run_id, {}, "")
    with pytest.raises(TrackingError, match=f"{registry.model_name} has no version 1"):
        registry.version("1")


def test_the_bundle_of_a_run_that_was_deleted_is_refused_with_a_remedy(
    store: Store, tmp_path: Path
) -> None:
    deleted = store.client.create_run(store.run.info.experiment_id).info.run_id
    store.client.log_artifacts(deleted, str(store.record.bundle), "bundle")
    store.client.delete_run(deleted)
    with pytest.raises(TrackingError, match=f"mlflow runs restore --run-id {deleted}") as refusal:
        store.tracking.runs.download(deleted, "bundle", tmp_path)
    assert "\n" not in str(refusal.value)
    assert not any(tmp_path.iterdir())
    store.client.restore_run(deleted)
    open_bundle(store.tracking.runs.download(deleted, "bundle", tmp_path))


def test_refused_runs_are_listed_with_reason_and_metrics(store: Store) -> None:
    accepted = store.log_another("accepted")
    store.tracking.runs.tag(accepted, {ACTION_TAG: "promote", REASON_TAG: "good"})
    before = store.tracking.runs.refused()
    assert accepted not in {one["run_id"] for one in before}

    refused = store.log_another("refused")
    store.tracking.runs.tag(refused, {ACTION_TAG: "refuse", REASON_TAG: "recall 0.8 is too low"})
    listed = store.tracking.runs.refused()[0]
    assert len(store.tracking.runs.refused()) == len(before) + 1
    assert (listed["run_id"], listed["name"]) == (refused, "refused")
    assert listed["reason"] == "recall 0.8 is too low"
    assert listed["metrics"]["test.recall"] == 0.8


# --- the local store ------------------------------------------------------------------------------


def test_without_an_address_everything_lies_in_each_workspace(tmp_path: Path) -> None:
    names = ("first", "second")
    with tracking_address(None):
        stores = [Tracking(Paths(tmp_path / name), MODEL_NAME) for name in names]
    for name, store in zip(names, stores, strict=True):
        assert name in store.uri
        assert (tmp_path / name / "mlruns/mlflow.db").is_file()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == list(names)


# --- servers that cannot help ---------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short retries."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def responding(status: int, content: bytes = b"", pause: float = 0) -> Any:
    """Run a server that gives every request the same response, or none."""

    def respond(_: BaseHTTPRequestHandler) -> httpx.Response | None:
        time.sleep(pause)
        return None if pause else httpx.Response(status, content=content)

    return running(respond)


def spoilt(address: str, path: str, status: int) -> Any:
    """Run a server that passes everything on to `address`, but refuses what has `path` in it."""

    def respond(request: BaseHTTPRequestHandler) -> httpx.Response:
        content = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if path in request.path:
            return httpx.Response(status, content=b"no entry")
        given = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        url = address + request.path
        return httpx.request(request.command, url, content=content, headers=given)

    return running(respond)


@contextmanager
def running(respond: Callable[[BaseHTTPRequestHandler], httpx.Response | None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if response := respond(self):
                self.send_response(response.status_code)
                self.send_header("Content-Length", str(len(response.content)))
                self.end_headers()
                self.wfile.write(response.content)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.block_on_close = False  # not for a response that never comes
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        serving.join(10)


def connect(address: str, workspace: Path) -> Any:
    with tracking_address(address):
        return Tracking(Paths(workspace), MODEL_NAME)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_told_of_soon_and_with_a_remedy(tmp_path: Path) -> None:
    address, start = f"http://127.0.0.1:{free_port()}", time.monotonic()
    with pytest.raises(TrackingUnavailable, match=f"The MLflow server {address} cannot") as refusal:
        connect(address, tmp_path)
    assert time.monotonic() - start < 15
    assert refusal.value.is_transient
    assert "unset MLFLOW_TRACKING_URI" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("status", "pause"), [(502, 0), (503, 0), (504, 0), (200, 10)])
def test_a_server_that_is_starting_or_never_responds_is_as_one_that_is_not_there(
    tmp_path: Path, status: int, pause: float
) -> None:
    with responding(status, pause=pause) as address, pytest.raises(TrackingUnavailable) as refusal:
        connect(address, tmp_path)
    assert address in str(refusal.value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (401, b"no entry", "refused.*401.*MLFLOW_TRACKING_USERNAME"),
        (403, b"no entry", "refused.*403.*whoever runs the server"),
        (500, b"", "fails .500."),
        (200, b"<html>Please log in.</html>", "refused"),
    ],
)
def test_a_server_that_does_not_serve_is_told_of_with_a_remedy_and_not_asked_again(
    tmp_path: Path, status: int, content: bytes, said: str
) -> None:
    with (
        responding(status, content) as address,
        pytest.raises(TrackingError, match=rf"{address}.*{said}") as refusal,
    ):
        connect(address, tmp_path)
    assert not refusal.value.is_transient
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 403, 500, 503])
@pytest.mark.parametrize("path", ["mlflow-artifacts/artifacts", "registered-models", "runs/get"])
def test_a_server_that_refuses_later_is_told_of_in_one_line(
    mlflow_server: str, tmp_path: Path, path: str, status: int
) -> None:
    with spoilt(mlflow_server, path, status) as address, tracking_address(address):
        tracking = Tracking(Paths(tmp_path), MODEL_NAME)
        run_id = tracking.runs._experiment.create_run("bare", "a test", {})
        ask = (
            partial(tracking.registry.move_aliases, champion="1", previous=None)
            if path == "registered-models"
            else partial(tracking.runs.download, run_id, "bundle", tmp_path)
        )
        with pytest.raises(TrackingError, match=address) as refusal:
            ask()
    assert "\n" not in str(refusal.value)
    assert str(status) in str(refusal.value) or isinstance(refusal.value, TrackingUnavailable)


def test_an_address_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="htpp"):
        connect("htpp://tracking:5000", tmp_path)
