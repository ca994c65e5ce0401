"""The HTTP service and `cracks predict` on a real folder of bundles, each in its own process."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import TOOLS, RunningProcess, StartProcess, wait_until

from cracks.inference.handover.champion import POINTER, name_champion, stage_bundle
from cracks.inference.handover.prediction_id import parse_prediction_id
from cracks.system.hashing import digest_of_bytes
from serving.engine.champion_watch import ChampionWatch
from serving.settings import MEGABYTE, ServiceSettings
from tests.integration.bundles import champion_of, grey_image, hand_over, make_bundle, plain_image
from tests.integration.services import Service, make_workspace, serving, uploads

pytestmark = pytest.mark.integration

LIMITS = ServiceSettings(service=Path())
MOST_FILES, LARGEST_UPLOAD = LIMITS.max_files, LIMITS.max_upload_mb * MEGABYTE

BRIGHT, DARK = grey_image(200), grey_image(60)
SCORE_OF_BRIGHT, SCORE_OF_DARK = 200 / 255, 60 / 255


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("place") / "workspace")


@pytest.fixture
def empty(start: StartProcess, workspace: Path, tmp_path: Path) -> Iterator[Service]:
    """A service before the first promotion."""
    with serving(start, workspace, tmp_path / "service") as service:
        yield service


@pytest.fixture
def service(start: StartProcess, workspace: Path, tmp_path: Path) -> Iterator[Service]:
    """A service of one test, with version 1 as its champion."""
    hand_over(tmp_path / "service", make_bundle(tmp_path / "v1"), "1")
    with serving(start, workspace, tmp_path / "service") as service:
        yield service


@pytest.fixture(scope="module")
def shared(
    start_for_module: StartProcess, workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service for the tests that only ask, with version 1 as its champion."""
    place = tmp_path_factory.mktemp("shared")
    hand_over(place / "service", make_bundle(place / "v1"), "1")
    with serving(start_for_module, workspace, place / "service") as service:
        yield service


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "label"), [(BRIGHT, "crack"), (DARK, "no crack")])
def test_one_image_gets_one_prediction_with_all_that_explains_it(
    shared: Service, image: bytes, label: str
) -> None:
    expected = SCORE_OF_BRIGHT if label == "crack" else SCORE_OF_DARK
    (prediction,) = shared.predict(column=image)
    assert [prediction] == [
        {
            "file": "column",
            "label": label,
            "score": pytest.approx(expected, abs=1e-4),
            "threshold": 0.5,
            "novelty": None,
            "novel": None,
            "prediction_id": prediction["prediction_id"],
            "model_version": "1",
            "run_id": "run-1",
        }
    ]


def test_every_prediction_has_an_id_that_says_model_image_and_time(shared: Service) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    predictions = shared.predict(bright=BRIGHT, dark=DARK)
    digest = shared.client.get("/model").json()["bundle_digest"]
    for prediction, content in zip(predictions, (BRIGHT, DARK), strict=True):
        said = parse_prediction_id(prediction["prediction_id"])
        assert (said.version, said.bundle) == ("1", digest[:12])
        assert said.image == digest_of_bytes(content)[:16]
        assert before <= said.time <= datetime.now(UTC)


def test_an_image_unlike_the_training_data_is_predicted_and_flagged(
    start: StartProcess, workspace: Path, tmp_path: Path
) -> None:
    hand_over(tmp_path / "service", make_bundle(tmp_path / "v1", novelty=True), "1")
    with serving(start, workspace, tmp_path / "service") as service:
        usual, strange = service.predict(grey=BRIGHT, red=plain_image((250, 160, 40)))
    assert (usual["label"], strange["label"]) == ("crack", "crack")
    assert (usual["novel"], strange["novel"]) == (False, True)
    assert usual["novelty"] <= 1 < strange["novelty"]


def test_several_images_jpeg_and_png_of_any_size_are_predicted_in_their_order(
    shared: Service,
) -> None:
    greys = [10, 250, 90, 170, 40, 210, 60, 130, 240, 20]  # more than one batch
    images = {
        f"{number}-{grey}": grey_image(grey, ("JPEG", "PNG")[number % 2], 227 + 30 * (number % 3))
        for number, grey in enumerate(greys)
    }
    predictions = shared.predict(**images)
    assert [prediction["file"] for prediction in predictions] == list(images)
    # A JPEG may miss a grey by one.
    assert [prediction["score"] for prediction in predictions] == pytest.approx(
        [grey / 255 for grey in greys], abs=1.01 / 255
    )


def test_the_most_files_that_are_allowed_are_all_predicted(shared: Service) -> None:
    assert len(shared.predict(**{f"{n}": DARK for n in range(MOST_FILES)})) == MOST_FILES


def test_many_clients_at_a_time_each_get_their_own_prediction(shared: Service) -> None:
    wrong: list[float] = []

    def ask(grey: int) -> None:
        for _ in range(10):
            (prediction,) = shared.predict(image=grey_image(grey))
            if prediction["score"] != pytest.approx(grey / 255, abs=1e-4):
                wrong.append(prediction["score"])

    clients = [threading.Thread(target=ask, args=(grey,)) for grey in range(0, 256, 32)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    assert not any(client.is_alive() for client in clients)
    assert wrong == []


def test_the_model_tells_its_version_run_metrics_lineage_and_threshold(shared: Service) -> None:
    model = shared.client.get("/model").json()
    assert model["model_name"] == "brightness"
    assert (model["model_version"], model["run_id"]) == ("1", "run-1")
    assert model["threshold"] == 0.5
    assert model["labels"] == ["no crack", "crack"]
    assert model["metrics"] == {"test.accuracy": 0.75, "test.recall": 0.5}
    assert model["lineage"]["source"] == "sample"
    assert len(model["bundle_digest"]) == 64


def test_the_description_of_the_interface_names_the_refusals(shared: Service) -> None:
    description = shared.client.get("/openapi.json").json()
    assert {"413", "415", "422", "503"} <= description["paths"]["/predict"]["post"][
        "responses"
    ].keys()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"no image at all", "not a JPEG, PNG, WebP or TIFF image", id="text"),
        pytest.param(b"", "empty file", id="empty"),
        pytest.param(grey_image(90, "JPEG")[:-200], "damaged image", id="truncated JPEG"),
        pytest.param(BRIGHT[: len(BRIGHT) // 2], "damaged image", id="truncated PNG"),
        pytest.param(grey_image(90, "GIF"), "not a JPEG, PNG, WebP or TIFF image", id="GIF"),
    ],
)
def test_a_file_that_is_no_readable_image_is_refused_by_its_name(
    shared: Service, content: bytes, reason: str
) -> None:
    response = shared.client.post("/predict", files=uploads(good=BRIGHT, notes=content))
    assert response.status_code == 415
    assert response.json()["detail"].startswith(f"notes: {reason}")


def test_a_request_without_a_file_is_refused_and_says_how_to_send_one(shared: Service) -> None:
    nothing = shared.client.post("/predict")
    assert nothing.status_code == 415
    assert "Content-Type is missing" in nothing.json()["detail"]
    other = shared.client.post("/predict", files={"photo": BRIGHT})
    assert other.status_code == 400
    assert "curl -F files=@" in other.json()["detail"]


def test_too_many_files_are_refused(shared: Service) -> None:
    names = (f"{number}" for number in range(MOST_FILES + 1))
    response = shared.client.post("/predict", files=uploads(**dict.fromkeys(names, DARK)))
    assert response.status_code == 413
    assert f"at most {MOST_FILES}" in response.json()["detail"]


def test_too_large_a_request_is_refused(shared: Service) -> None:
    huge = DARK + bytes(LARGEST_UPLOAD + 1 - len(DARK))
    response = shared.client.post("/predict", files=uploads(panorama=huge))
    assert response.status_code == 413
    assert f"at most {LIMITS.max_upload_mb} MiB" in response.json()["detail"]


def test_after_every_refusal_it_still_serves(shared: Service) -> None:
    shared.client.post("/predict", files=uploads(notes=b"no image"))
    assert shared.predict(column=BRIGHT)[0]["label"] == "crack"
    assert "Traceback" not in shared.process.stderr


# --- promotion ------------------------------------------------------------------------------------


def test_it_becomes_ready_without_a_restart_when_the_first_champion_is_handed_over(
    empty: Service, tmp_path: Path
) -> None:
    for path in ("/ready", "/model", "/ping", "/v2/health/ready", "/v2/models/brightness"):
        response = empty.client.get(path)
        assert response.status_code == 503, path
        assert "No champion is in service yet" in response.json()["detail"]
    refused = empty.client.post("/predict", files=uploads(column=BRIGHT))
    assert (refused.status_code, empty.client.get("/health").status_code) == (503, 200)

    hand_over(empty.folder, make_bundle(tmp_path / "v1"), "1")

    assert empty.wait_for_version("1")["problem"] is None
    assert empty.predict(column=BRIGHT)[0]["score"] == pytest.approx(SCORE_OF_BRIGHT, abs=1e-4)


@dataclass
class Client(threading.Thread):
    """Sends the same image again and again; keeps each prediction, and what was none."""

    service: Service
    predictions: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._enough = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self._enough.is_set():
            try:
                self.predictions += self.service.predict(column=BRIGHT)
            except httpx.HTTPError as error:
                self.failures.append(str(error))

    def wait_for_version(self, version: str) -> None:
        what = f"a prediction of version {version}"
        wait_until(lambda: self.predictions[-1]["model_version"] == version, what)

    def stop(self) -> None:
        self._enough.set()
        self.join(30)


def test_no_request_fails_while_champions_change_and_each_version_explains_its_score(
    service: Service, tmp_path: Path
) -> None:
    factors = {"1": 1.0, "2": 0.5, "3": 0.25}
    client = Client(service)
    client.start()
    try:
        wait_until(lambda: client.predictions, "the first prediction")
        for version in ("2", "3"):
            bundle = make_bundle(tmp_path / f"v{version}", factors[version])
            hand_over(service.folder, bundle, version)
            client.wait_for_version(version)
    finally:
        client.stop()
    assert client.failures == []
    versions = [prediction["model_version"] for prediction in client.predictions]
    assert set(versions) == set(factors)
    assert versions == sorted(versions), "an old version predicted after a new one"
    for prediction in client.predictions:
        expected = SCORE_OF_BRIGHT * factors[prediction["model_version"]]
        assert prediction["score"] == pytest.approx(expected, abs=1e-4)
        assert prediction["run_id"] == f"run-{prediction['model_version']}"


def test_a_damaged_new_bundle_is_refused_and_the_old_one_stays_until_a_sound_one_comes(
    service: Service, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "v2", 0.5)
    name = stage_bundle(service.folder, bundle, "2")
    damage(service.folder / "bundles" / name / "model.bin")
    name_champion(service.folder, champion_of(bundle, "2", name))

    problem = service.wait_for_problem()
    assert name in problem
    assert "model.bin has not the SHA-256" in problem
    (prediction,) = service.predict(column=BRIGHT)
    assert (prediction["model_version"], prediction["score"]) == (
        "1",
        pytest.approx(SCORE_OF_BRIGHT, abs=1e-4),
    )

    hand_over(service.folder, make_bundle(tmp_path / "v3", 0.25), "3")
    assert service.wait_for_version("3")["problem"] is None


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def test_the_bundle_of_another_version_under_a_champions_name_is_refused(
    service: Service, tmp_path: Path
) -> None:
    promoted, other = make_bundle(tmp_path / "v2", 0.5), make_bundle(tmp_path / "other", 0.9)
    name = stage_bundle(service.folder, other, "2")
    name_champion(service.folder, champion_of(promoted, "2", name))
    assert "is not the one that was promoted as version 2" in service.wait_for_problem()
    assert service.predict(column=BRIGHT)[0]["model_version"] == "1"


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"{", id="cut short"),
        pytest.param(b'{"version": 2}', id="other keys"),
        pytest.param(b"\x80\x81\xff", id="no text"),
    ],
)
def test_a_damaged_champion_file_is_reported_until_it_is_fixed(
    service: Service, tmp_path: Path, nonsense: bytes
) -> None:
    pointer = service.folder / POINTER
    sound = pointer.read_bytes()
    pointer.write_bytes(nonsense)
    assert POINTER in service.wait_for_problem()
    assert service.predict(column=BRIGHT)[0]["model_version"] == "1"

    pointer.write_bytes(sound)
    wait_until(
        lambda: service.client.get("/ready").json()["problem"] is None,
        "the end of the problem",
        timeout=5,
    )
    hand_over(service.folder, make_bundle(tmp_path / "v2", 0.5), "2")
    service.wait_for_version("2")


def test_what_stands_in_the_way_is_logged_once_and_not_at_every_look(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ChampionWatch(tmp_path / "service")
    for _ in range(5):
        watch.poll()
    assert "No champion is in service yet" in (watch.problem or "")
    assert len(caplog.records) <= 1


def test_handing_over_again_replaces_a_copy_that_was_damaged(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "v1")
    name = stage_bundle(tmp_path / "service", bundle, "1")
    damage(tmp_path / "service/bundles" / name / "model.bin")
    assert stage_bundle(tmp_path / "service", bundle, "1") == name


# --- the process ----------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_refused_in_one_line(
    start: StartProcess, workspace: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [TOOLS / "cracks", "-C", workspace, "serve", "--open", "--port", str(port)]
        process = start(command)
        assert process.wait(30) == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"error: Cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert "--port 0" in line


def test_ctrl_c_ends_it_within_seconds_and_without_a_traceback(service: Service) -> None:
    service.predict(column=BRIGHT)
    service.process.interrupt()
    assert service.process.wait(8) in (0, 130)
    assert "Traceback" not in service.process.stderr


def test_ctrl_c_lets_a_request_under_way_finish(service: Service) -> None:
    port = service.client.base_url.port
    body = multipart("column", BRIGHT)
    head = (
        "POST /predict HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port or 0), timeout=10) as connection:
        connection.sendall(head.encode() + body[:50])
        # Responds after what was sent before on another connection: the request has begun.
        service.client.get("/health")
        service.client.close()
        service.process.interrupt()
        wait_until(lambda: refuses_connections(port or 0), "the end of listening")
        connection.sendall(body[50:])
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    assert response.startswith(b"HTTP/1.1 200")
    assert b'"model_version":"1"' in response
    assert service.process.wait(8) in (0, 130)


def multipart(name: str, content: bytes) -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--edge--\r\n"


def refuses_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- cracks predict -------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """A bright and a dark image as files."""
    files = [tmp_path / "bright.png", tmp_path / "dark.jpg"]
    files[0].write_bytes(BRIGHT)
    files[1].write_bytes(grey_image(60, "JPEG"))
    return files


def predict(
    start: StartProcess, workspace: Path, folder: Path, *arguments: str | Path
) -> RunningProcess:
    process = start(
        [TOOLS / "cracks", "-C", workspace, "predict", *arguments],
        variables={"CRACKS_SERVICE_DIR": str(folder)},
    )
    process.wait(60)
    return process


def test_the_command_line_gives_the_same_predictions_as_the_service(
    start: StartProcess, workspace: Path, shared: Service, images: list[Path]
) -> None:
    done = predict(start, workspace, shared.folder, *images, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    served = shared.predict(**{str(image): image.read_bytes() for image in images})
    assert without_times(json.loads(done.stdout)) == without_times(served)


def without_times(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions whose prediction ids say all but when they were given."""
    return [
        prediction | {"prediction_id": prediction["prediction_id"].rpartition("-")[0]}
        for prediction in predictions
    ]


def test_the_command_line_shows_a_person_a_table(
    start: StartProcess, workspace: Path, shared: Service, images: list[Path]
) -> None:
    done = predict(start, workspace, shared.folder, *images)
    assert done.exit_code == 0
    rows = [line for line in done.stdout.splitlines() if "crack" in line]
    assert "0.7843" in rows[0]
    assert "no crack" in rows[1]


def test_without_a_champion_the_command_line_says_what_to_do_in_one_line(
    start: StartProcess, workspace: Path, tmp_path: Path, images: list[Path]
) -> None:
    done = predict(start, workspace, tmp_path / "nothing", *images)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: No champion is in service yet")
    assert "`cracks train`" in line


@pytest.mark.parametrize(
    "content", [None, b"no image", BRIGHT[:300]], ids=["absent", "text", "cut"]
)
def test_an_unreadable_image_is_named_in_one_line(
    start: StartProcess, workspace: Path, shared: Service, images: list[Path], content: bytes | None
) -> None:
    bad = images[0].with_name("column-07.jpg")
    if content is not None:
        bad.write_bytes(content)
    done = predict(start, workspace, shared.folder, images[0], bad)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {bad}")
