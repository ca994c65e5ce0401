"""The HTTP service in this process, its own process where that matters, and `cracks predict`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

from cracks.inference.handover.prediction_id import parse_prediction_id
from cracks.system.hashing import digest_of_bytes
from tests.integration.bundles import grey_image, hand_over, make_bundle, service_folder
from tests.integration.conftest import RunCracks, Serve
from tests.integration.services import Service, in_process, uploads

BRIGHT, DARK = grey_image(200), grey_image(60)
SCORE_OF_BRIGHT, SCORE_OF_DARK = 200 / 255, 60 / 255

#: Of a prediction, what the list of recent ones shows.
SHOWN_AGAIN = ("prediction_id", "label", "score", "threshold", "novelty", "novel", "run_id")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with version 1 as its champion."""
    with in_process(service_folder(tmp_path_factory.mktemp("shared"))) as service:
        yield service


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "label"), [(BRIGHT, "crack"), (DARK, "no crack")])
def test_one_image_gets_one_prediction_with_all_that_explains_it(
    service: Service, image: bytes, label: str
) -> None:
    expected = SCORE_OF_BRIGHT if label == "crack" else SCORE_OF_DARK
    (prediction,) = service.predict(column=image)
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
    (newest,) = service.client.get("/answers?limit=1").json()["answers"]
    assert (newest["kind"], newest["crack_share"]) == ("predict", None)
    assert newest.items() >= {name: prediction[name] for name in SHOWN_AGAIN}.items()


def test_every_prediction_has_an_id_that_says_model_image_and_time(service: Service) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    predictions = service.predict(bright=BRIGHT, dark=DARK)
    digest = service.client.get("/model").json()["bundle_digest"]
    for prediction, content in zip(predictions, (BRIGHT, DARK), strict=True):
        said = parse_prediction_id(prediction["prediction_id"])
        assert (said.version, said.bundle) == ("1", digest[:12])
        assert said.image == digest_of_bytes(content)[:16]
        assert before <= said.time <= datetime.now(UTC)


def test_several_images_jpeg_and_png_of_any_size_are_predicted_in_their_order(
    service: Service,
) -> None:
    greys = [10, 250, 90, 170, 40, 210, 60, 130, 240, 20]  # more than one batch
    images = {
        f"{number}-{grey}": grey_image(grey, ("JPEG", "PNG")[number % 2], 227 + 30 * (number % 3))
        for number, grey in enumerate(greys)
    }
    predictions = service.predict(**images)
    assert [prediction["file"] for prediction in predictions] == list(images)
    # A JPEG may miss a grey by one.
    assert [prediction["score"] for prediction in predictions] == pytest.approx(
        [grey / 255 for grey in greys], abs=1.01 / 255
    )


def test_the_model_tells_its_version_run_metrics_lineage_and_threshold(service: Service) -> None:
    model = service.client.get("/model").json()
    assert model["model_name"] == "classifier"
    assert (model["model_version"], model["run_id"]) == ("1", "run-1")
    assert model["threshold"] == 0.5
    assert model["labels"] == ["no crack", "crack"]
    assert model["metrics"] == {"test.accuracy": 0.75, "test.recall": 0.5}
    assert model["lineage"]["source"] == "sample"
    assert len(model["bundle_digest"]) == 64


# --- refusals -------------------------------------------------------------------------------------


def test_a_request_without_a_file_is_refused_and_says_how_to_send_one(service: Service) -> None:
    nothing = service.client.post("/predict")
    assert nothing.status_code == 415
    assert "Content-Type is missing" in nothing.json()["detail"]
    other = service.client.post("/predict", files={"photo": BRIGHT})
    assert other.status_code == 400
    assert "curl -F files=@" in other.json()["detail"]


def test_it_becomes_ready_without_a_restart_when_the_first_champion_is_handed_over(
    tmp_path: Path,
) -> None:
    with in_process(tmp_path / "service") as service:
        for path in ("/ready", "/model", "/ping", "/v2/health/ready", "/v2/models/classifier"):
            response = service.client.get(path)
            assert response.status_code == 503, path
            assert "No champion is in service yet" in response.json()["detail"]
        refused = service.client.post("/predict", files=uploads(column=BRIGHT))
        assert (refused.status_code, service.client.get("/health").status_code) == (503, 200)
        hand_over(service.folder, make_bundle(tmp_path / "v1"), "1")
        assert service.wait_for_version("1")["problem"] is None
        assert service.predict(column=BRIGHT)[0]["label"] == "crack"


# --- the process ----------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_refused_in_one_line(cracks: RunCracks, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cracks(tmp_path, "serve", "--open", "--port", str(port))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: Cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert "--port 0" in line


def test_ctrl_c_ends_it_after_the_request_under_way_and_without_a_traceback(
    serve: Serve, service: Service
) -> None:
    headers = ("Connection: close", "Content-Type: image/png", f"Content-Length: {len(BRIGHT)}")
    with serve(service.folder) as running:
        running.wait_for_version("1")
        with running.post(*headers) as request:
            request.send(BRIGHT[:50])
            # Responds after what was sent before on another connection: the request has begun.
            running.client.get("/health")
            running.client.close()
            running.process.interrupt()
            wait_until(lambda: refuses_connections(running.port), "the end of listening")
            request.send(BRIGHT[50:])
            status, said = request.response()
        assert (status, '"model_version":"1"' in said) == (200, True)
        assert running.process.wait(8) in (0, 130)
        assert "Traceback" not in running.process.stderr


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


def test_the_command_line_gives_the_same_predictions_as_the_service(
    cracks: RunCracks, service: Service, images: list[Path]
) -> None:
    done = cracks(service.folder, "predict", *images, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    served = service.predict(**{str(image): image.read_bytes() for image in images})
    assert without_times(json.loads(done.stdout)) == without_times(served)


def without_times(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions whose prediction ids say all but when they were given."""
    return [
        prediction | {"prediction_id": prediction["prediction_id"].rpartition("-")[0]}
        for prediction in predictions
    ]


def test_the_command_line_shows_a_person_a_table(
    cracks: RunCracks, service: Service, images: list[Path]
) -> None:
    done = cracks(service.folder, "predict", *images)
    assert done.exit_code == 0
    rows = [line for line in done.stdout.splitlines() if "crack" in line]
    assert "0.7843" in rows[0]
    assert "no crack" in rows[1]


def test_an_unreadable_image_is_named_in_one_line(
    cracks: RunCracks, service: Service, images: list[Path]
) -> None:
    bad = images[0].with_name("column-07.jpg")
    bad.write_bytes(b"no image")
    done = cracks(service.folder, "predict", images[0], bad)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {bad}")
