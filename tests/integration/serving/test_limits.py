"""What the service refuses, and what it tells of it: keys, sizes, times, headers, log, metrics."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.middleware.api_keys import create_key, read_keys
from serving.middleware.security_headers import HEADERS
from serving.settings import MEGABYTE
from tests.integration.bundles import grey_image, hand_over, make_bundle, plain_image
from tests.integration.conftest import RunCracks, Serve
from tests.integration.services import ServiceProcess, uploads

BRIGHT, LARGE = grey_image(200), grey_image(200, size=400)

#: Small ones, so that they are reached at once.
LIMITS = {
    "CRACKS_SERVE_MAX_UPLOAD_MB": "2",
    "CRACKS_SERVE_MAX_JSON_MB": "1",
    "CRACKS_SERVE_MAX_HELD_MB": "3",
    "CRACKS_SERVE_MAX_FILES": "3",
    "CRACKS_SERVE_MAX_PATCH_PIXELS": "100000",
    "CRACKS_SERVE_MAX_WAITING": "4",
    "CRACKS_SERVE_UPLOAD_TIMEOUT": "1.5",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a service folder with version 1."""
    place = tmp_path_factory.mktemp("guarded")
    hand_over(place / "service", make_bundle(place / "v1", novelty=True), "1")
    return place


@pytest.fixture(scope="module")
def key(place: Path) -> str:
    return create_key(place / "service/keys.json", "ann")


@pytest.fixture(scope="module")
def service(serve: Serve, place: Path, key: str) -> Iterator[ServiceProcess]:
    """A service that wants a key and has small limits; its client has a key."""
    with serve(
        place / "service",
        *("--processes", "1"),
        variables=LIMITS,
        headers={"X-API-Key": key},
    ) as running:
        running.wait_for_version("1")
        yield running


# --- keys -----------------------------------------------------------------------------------------


def test_without_a_key_it_starts_only_if_it_is_told_to_serve_anybody(
    cracks: RunCracks, tmp_path: Path
) -> None:
    done = cracks(tmp_path / "service", "serve", "--port", "0")
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Nobody has a key yet")
    assert "`cracks keys create NAME`" in line
    assert "--open" in line


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "crk_guessed"},
        {"Authorization": "Bearer crk_guessed"},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": "ümlaut".encode().decode("latin-1")},
    ],
    ids=["none", "X-API-Key", "Bearer", "Basic", "no ASCII"],
)
@pytest.mark.parametrize("path", ["/model", "/metrics", "/openapi.json", "/nothing"])
def test_nothing_is_told_without_a_known_key(
    service: ServiceProcess, headers: dict[str, str], path: str
) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    response = httpx.get(service.client.base_url.join(path), headers=raw)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    content = response.json()
    assert content.keys() == {"detail", "request_id"}
    assert "cracks keys create" in content["detail"]
    assert "guessed" not in response.text


def test_the_command_line_makes_lists_and_revokes_keys(cracks: RunCracks, tmp_path: Path) -> None:
    key = cracks(tmp_path, "keys", "create", "zoe").stdout.strip()
    listed = cracks(tmp_path, "keys", "list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["ending"], row["revoked"]) == ("zoe", key[-4:], None)
    assert key[4:20] not in listed.stdout
    assert cracks(tmp_path, "keys", "revoke", "zoe").exit_code == 0
    (revoked,) = read_keys(tmp_path / "keys.json")
    assert revoked.revoked


# --- sizes and times ------------------------------------------------------------------------------


JPEG = "Content-Type: image/jpeg"


def test_what_is_announced_as_too_large_is_refused_before_it_is_sent(
    service: ServiceProcess,
) -> None:
    with service.post(JPEG, f"Content-Length: {10**13}") as request:
        status, said = request.response()
    assert status == 413
    assert "at most 2 MiB" in said


def test_what_grows_too_large_unannounced_is_refused_while_it_is_sent(
    service: ServiceProcess,
) -> None:
    with service.post(JPEG, "Transfer-Encoding: chunked") as request:
        chunk = bytes(MEGABYTE // 2)
        for _ in range(5):
            request.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        status, _ = request.response()
    assert status == 413
    assert service.predict(column=BRIGHT)[0]["label"] == "crack"


def test_a_body_that_does_not_come_is_not_waited_for(service: ServiceProcess) -> None:
    begin = time.monotonic()
    with service.post(JPEG, "Content-Length: 1000") as request:
        request.send(b"\xff\xd8\xff")
        status, said = request.response()
    assert status == 408
    assert "within 1.5 s" in said
    assert "connection: close" in said.lower()
    assert 1 < time.monotonic() - begin < 5


def test_many_large_uploads_at_a_time_are_refused_for_now_and_then_forgotten(
    service: ServiceProcess,
) -> None:
    length = 2 * MEGABYTE - 10
    with ExitStack() as stack:
        sent = [
            stack.enter_context(service.post(JPEG, f"Content-Length: {length}")) for _ in range(2)
        ]
        for request in sent:
            request.send(bytes(length - 1))
        responses = [request.response() for request in sent]
    assert sorted(status for status, _ in responses) == [408, 429]
    refused = dict(responses)[429]
    assert "retry-after: 1" in refused.lower()
    # Both are let go: a large one has room again.
    assert (
        service.client.post(
            "/predict", content=bytes(length), headers={"Content-Type": "image/jpeg"}
        ).status_code
        == 415
    )


def test_more_than_it_can_do_is_refused_for_now_and_the_rest_is_served(
    service: ServiceProcess,
) -> None:
    before = service.metric("cracks_overload_refusals_total")
    files = uploads(**{f"{n}": plain_image((n, n, n), "PNG", 300) for n in range(3)})

    def ask(_: int) -> httpx.Response:
        return service.client.post("/predict", files=files)

    with ThreadPoolExecutor(12) as clients:
        responses = list(clients.map(ask, range(60)))
    assert {response.status_code for response in responses} == {200, 429}
    refused = [response for response in responses if response.status_code == 429]
    assert all(int(response.headers["Retry-After"]) >= 1 for response in refused)
    assert service.metric("cracks_overload_refusals_total") == before + len(refused)
    assert service.predict(column=BRIGHT)[0]["label"] == "crack"


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "reason"),
    [
        ("/invocations", b" " * (MEGABYTE + 1), "application/json", 413, "1 MiB of JSON"),
        ("/invocations", b"[" * 100_000, "application/json", 400, "no JSON"),
        ("/invocations", b"{}", "text/csv", 415, "arrays, no tables"),
        ("/predict", b"a=b", "application/x-www-form-urlencoded", 415, "multipart/form-data"),
        ("/predict", b"x", "multipart/form-data", 400, "Missing boundary"),
        ("/predict", b"x", "multipart/form-data; boundary=edge", 400, "form"),
        ("/predict", b"", "image/jpeg", 415, "empty file"),
        ("/predict", LARGE, "image/jpeg", 413, "too many pixels: 400×400"),
        ("/predict", BRIGHT, "image/jpeg", 200, ""),  # what it is, the file itself says
        ("/predict", BRIGHT, "application/octet-stream", 200, ""),
    ],
)
def test_every_body_is_read_as_what_it_is_said_to_be(
    service: ServiceProcess, path: str, content: bytes, headers: str, status: int, reason: str
) -> None:
    response = service.client.post(path, content=content, headers={"Content-Type": headers})
    assert response.status_code == status, response.text
    assert reason in response.json().get("detail", "")


def test_compressed_requests_are_refused_because_nobody_knows_what_they_become(
    service: ServiceProcess,
) -> None:
    bomb = gzip.compress(bytes(50 * MEGABYTE))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = service.client.post("/invocations", content=bomb, headers=headers)
    assert response.status_code == 415


def test_as_many_files_as_are_allowed_are_predicted_and_more_refused(
    service: ServiceProcess,
) -> None:
    def post(field: str, count: int) -> httpx.Response:
        images = [(field, (f"{n}.png", BRIGHT)) for n in range(count)]
        return service.client.post("/predict", files=images)

    assert len(post("files", 3).json()["predictions"]) == 3
    for field, count in (("files", 4), ("files", 5), ("others", 5)):
        response = post(field, count)
        assert response.status_code == 413
        assert "at most 3 files" in response.json()["detail"]


# --- what it tells --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/model", 200),
        ("GET", "/", 200),
        ("GET", "/nothing", 404),
        ("GET", "/predict", 405),
        ("POST", "/predict", 415),
        ("GET", "/answers?limit=many", 422),
        ("GET", "/answers?limit=0", 422),
        ("GET", "/answers?limit=501", 422),
    ],
)
def test_every_response_has_an_id_and_tells_browsers_to_be_careful(
    service: ServiceProcess, method: str, path: str, status: int
) -> None:
    response = service.client.request(method, path)
    assert response.status_code == status
    for name, value in HEADERS:
        assert response.headers[name.decode()] == value.decode()
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "no-" in response.headers["Cache-Control"]
    if status >= 400:
        assert response.json()["request_id"] == response.headers["X-Request-ID"]
        assert len(response.json()["detail"].splitlines()) == 1
    line = service.line_of(response)
    assert (line["status"], line["method"]) == (status, method)


def test_the_id_of_a_request_is_kept_if_it_can_do_no_harm(service: ServiceProcess) -> None:
    def id_for(given: str) -> str:
        response = service.client.get("/health", headers={"X-Request-ID": given})
        return response.headers["X-Request-ID"]

    assert id_for("trace-7.b_1") == "trace-7.b_1"
    for harmful in ("x" * 65, "a b", '"}', "<script>", ""):
        made = id_for(harmful)
        assert made != harmful
        assert len(made) == 32


def test_the_log_tells_of_a_request_what_is_needed_and_nothing_of_image_or_key(
    service: ServiceProcess, key: str
) -> None:
    files = {"files": ("secret-bridge.png", BRIGHT)}
    line = service.line_of(service.client.post("/predict", files=files))
    wanted = {"method": "POST", "path": "/predict", "status": 200, "images": 1}
    assert wanted.items() <= line.items()
    assert (line["model_version"], line["key"]) == ("1", "ann")
    assert 0 < line["milliseconds"] < 20_000
    assert {"time", "level", "message"} <= line.keys()
    refused = service.client.post("/predict", files={"files": ("secret-bridge.png", b"no image")})
    assert refused.status_code == 415
    assert refused.json()["detail"].startswith("secret-bridge.png: not a JPEG, PNG, WebP or TIFF")
    service.line_of(refused)
    assert "secret-bridge" not in service.process.stderr
    assert key not in service.process.stderr


def test_an_address_is_logged_by_its_template_not_as_it_was_written(
    service: ServiceProcess,
) -> None:
    response = service.client.get("/v2/models/some%0Aname/ready")
    assert service.line_of(response)["path"] == "/v2/models/{name}/ready"
    response = service.client.get("/%0A/../nothing?key=crk_1")
    assert service.line_of(response)["path"] == "unknown"
    assert "crk_1" not in service.process.stderr


def test_the_metrics_count_what_happened_in_a_form_that_prometheus_reads(
    service: ServiceProcess,
) -> None:
    before = service.metric("cracks_images_total")
    usual, strange = service.predict(usual=BRIGHT, strange=plain_image((250, 160, 40)))
    assert (usual["novel"], strange["novel"]) == (False, True)
    assert usual["novelty"] <= 1 < strange["novelty"]
    assert service.metric("cracks_images_total") == before + 2
    text = service.client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() >= {
        "cracks_http_requests",
        "cracks_http_request_duration_seconds",
        "cracks_images",
        "cracks_novel_images",
        "cracks_score",
        "cracks_batch_size",
        "cracks_queue_length",
        "cracks_overload_refusals",
        "cracks_champion_swaps",
        "cracks_champion_refusals",
        "cracks_model_info",
        "cracks_answers_recorded",
        "cracks_answers_dropped",
    }
    (model,) = families["cracks_model_info"].samples
    assert (model.labels, model.value) == ({"version": "1", "run_id": "run-1"}, 1)
    assert service.metric("cracks_novel_images_total") >= 1
    assert service.metric("cracks_batch_size_count") >= 1
    service.client.request("BREW", "/predict")
    assert 'method="BREW"' not in service.client.get("/metrics").text


def test_a_damaged_history_is_told_of(service: ServiceProcess, place: Path) -> None:
    (place / "service/history.json").write_text("[")
    damaged = service.client.get("/model/history")
    assert (damaged.status_code, "is damaged" in damaged.json()["detail"]) == (503, True)


def test_no_request_has_failed_inside(service: ServiceProcess) -> None:
    assert [line for line in service.log if line["level"] == "ERROR"] == []
