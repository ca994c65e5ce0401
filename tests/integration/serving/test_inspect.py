"""Whole photographs, on a real network and over real HTTP: what is bright is found where it is."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cracks.inference.handover.prediction_id import parse_prediction_id
from cracks.system.hashing import digest_of_bytes
from serving.routes.inspect import chosen_kind
from serving.schemas.inspection import Inspected
from tests.integration.bundles import BRIGHT, HEIGHT, WIDTH, grey_image, photograph, service_folder
from tests.integration.conftest import RunCracks
from tests.integration.services import in_process

SIZE = 64

# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_folder(tmp_path_factory.mktemp("inspecting"), size=SIZE)


@pytest.fixture(scope="module")
def client(service: Path) -> Iterator[httpx.Client]:
    with in_process(service, max_photo_pixels=1_000_000) as running:
        yield running.client


def test_a_photograph_gets_tiles_regions_and_what_explains_them(client: httpx.Client) -> None:
    content = photograph()
    response = client.post(
        "/inspect", params={"mm_per_px": 0.5}, files={"photo": ("pier.png", content)}
    )
    assert response.status_code == 200, response.text
    prediction = Inspected.model_validate(response.json())
    assert response.json().keys() == Inspected.model_fields.keys()
    assert (prediction.file, prediction.width, prediction.height) == ("pier.png", 640, 480)
    assert (prediction.label, prediction.tile_size, prediction.overlap) == ("crack", SIZE, 0.25)
    assert prediction.score == max(tile.score for tile in prediction.tiles)
    assert prediction.crack_area_cm2 == pytest.approx(
        prediction.crack_share * 320 * 240 / 100, abs=0.01
    )
    (region,) = prediction.regions
    assert region.width_mm == region.width / 2
    said = parse_prediction_id(prediction.prediction_id)
    assert (said.version, prediction.model_version, prediction.run_id) == ("1", "1", "run-1")
    assert said.image == digest_of_bytes(content)[:16]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photograph_is_the_whole_body_too_and_is_turned_upright(
    client: httpx.Client, format_: str
) -> None:
    response = client.post(
        "/inspect",
        content=photograph(format_, turned=True),
        headers={"Content-Type": f"image/{format_.lower()}"},
    )
    prediction = response.json()
    assert (prediction["width"], prediction["height"]) == (WIDTH, HEIGHT)
    (region,) = prediction["regions"]
    right, bottom = region["x"] + region["width"], region["y"] + region["height"]
    for found, true in zip((region["x"], region["y"], right, bottom), BRIGHT, strict=True):
        assert abs(found - true) <= SIZE


@pytest.mark.parametrize(("kind", "format_"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_the_overlay_is_the_response_where_a_picture_is_asked_for(
    client: httpx.Client, kind: str, format_: str
) -> None:
    response = client.post(
        "/inspect", files={"photo": photograph()}, headers={"Accept": f"{kind}, */*;q=0.1"}
    )
    assert response.headers["Content-Type"] == kind
    image = Image.open(io.BytesIO(response.content))
    assert (image.format, image.width) == (format_, 640)
    assert parse_prediction_id(response.headers["X-Prediction-Id"]).version == "1"
    assert 0 < float(response.headers["X-Crack-Share"]) < 0.3
    assert response.headers["X-Label"] == "crack"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("image/*", "image/png"),
        ("image/webp, image/jpeg;q=0.5", "image/jpeg"),
        ("text/html, */*;q=0.8", "application/json"),
        ("image/png;q=0.4, application/json;q=0.3", "image/png"),
        ("image/png;q=x, image/jpeg", "image/jpeg"),
    ],
)
def test_the_type_of_the_response_is_what_the_client_prefers(accept: str, kind: str) -> None:
    assert chosen_kind(accept) == kind


@pytest.mark.parametrize(
    ("parameters", "content", "headers", "status", "reason"),
    [
        ({"overlap": "0.9"}, b"x", {}, 422, "overlap"),
        ({"overlap": "nan"}, b"x", {}, 422, "overlap"),
        ({"mm_per_px": "0"}, b"x", {}, 422, "mm_per_px"),
        ({"mm_per_px": "inf"}, b"x", {}, 422, "mm_per_px"),
        ({}, b"no image", {}, 415, "not a JPEG, PNG, WebP or TIFF image"),
        ({}, b"", {}, 415, "empty file"),
        ({}, photograph(size=(1200, 1000)), {}, 413, "too many pixels: 1200×1000"),
        ({"overlap": "0.75"}, photograph(size=(999_999, 1)), {}, 413, "at most 10,000"),
        ({}, b"x", {"Content-Type": "text/html"}, 415, "Content-Type"),
        ({}, b"x", {"Accept": "text/html"}, 406, "Accept"),
    ],
    ids=str,
)
def test_what_cannot_be_inspected_is_refused_in_one_line(
    client: httpx.Client,
    parameters: dict[str, str],
    content: bytes,
    headers: dict[str, str],
    status: int,
    reason: str,
) -> None:
    headers = {"Content-Type": "application/octet-stream"} | headers
    response = client.post("/inspect", params=parameters, content=content, headers=headers)
    assert response.status_code == status, response.text
    detail = response.json()["detail"]
    assert reason in detail
    assert "\n" not in detail


def test_more_photographs_than_there_is_room_for_are_refused_and_the_rest_is_served(
    service: Path,
) -> None:
    content, statuses = photograph("JPEG", size=(2400, 1800)), []
    with in_process(service, max_inspections=1) as running:

        def ask() -> None:
            response = running.client.post("/inspect?overlap=0.5", files={"photo": content})
            statuses.append((response.status_code, response.headers.get("Retry-After")))

        asking = [threading.Thread(target=ask) for _ in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(60)
        assert {status for status, _ in statuses} == {200, 429}
        assert all(bool(retry) == (status == 429) for status, retry in statuses)
        assert running.client.post("/inspect", files={"photo": content}).status_code == 200


# --- without a server -----------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two photographs, of which one lay on its side, and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "pier 1 <west>.jpg").write_bytes(photograph("JPEG", turned=True))
    (folder / "pier-2.png").write_bytes(grey_image(60, size=400))
    (folder / "broken.jpg").write_bytes(photograph("JPEG")[:2000])
    return folder


def test_a_folder_becomes_pictures_tables_and_a_page(
    cracks: RunCracks, service: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = (photos, "--out", out, "--mm-per-px", "0.5", "--json")
    done = cracks(service, "inspect", *arguments)
    assert done.exit_code == 0, done.log
    said = json.loads(done.stdout)
    assert (said["photographs"], said["cracked"], said["unreadable"]) == (2, 1, 1)
    assert "broken.jpg" in (out / "unreadable.csv").read_text()
    for one in said["inspections"]:
        folder = Path(one["folder"])
        prediction = json.loads((folder / "inspection.json").read_bytes())
        assert prediction["prediction_id"] == one["prediction_id"]
        assert len((folder / "tiles.csv").read_text().splitlines()) == len(prediction["tiles"]) + 1
        overlay = Image.open(io.BytesIO((folder / "overlay.jpg").read_bytes()))
        assert overlay.width >= prediction["width"]
        assert (folder / "tile-1.jpg").is_file()
    page = (out / "report.html").read_text()
    assert "pier 1 &lt;west&gt;.jpg" in page
    assert "broken.jpg" in page

    again = cracks(service, "inspect", *arguments)
    assert json.loads(again.stdout) == said, "a second call changes nothing"
    (photos / "pier-3.png").write_bytes((photos / "pier-2.png").read_bytes())
    more = json.loads(cracks(service, "inspect", *arguments).stdout)
    assert more["photographs"] == 3
    assert all(one in more["inspections"] for one in said["inspections"])


def test_inspections_made_in_another_way_are_not_mixed_in(
    cracks: RunCracks, service: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cracks(service, "inspect", photos, "--out", out).exit_code == 0
    other = cracks(service, "inspect", photos, "--out", out, "--overlap", "0.5")
    assert (other.exit_code, other.stdout) == (1, "")
    (line,) = other.stderr.splitlines()
    assert line.startswith(f"error: {out} holds inspections with overlap 0.25, not 0.5.")


def test_an_overlap_beyond_the_largest_is_refused(cracks: RunCracks, service: Path) -> None:
    done = cracks(service, "inspect", "nowhere.jpg", "--out", "x", "--overlap", "0.9")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "overlap" in done.stderr
