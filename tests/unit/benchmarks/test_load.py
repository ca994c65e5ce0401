"""The load that services are measured under, with a server that refuses, drops and mixes up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from processes import CHECKOUT, environment

from benchmarks.load import Plan

#: What each body is scored by each version of the service.
SCORES = {"1": {b"a": 0.1, b"b": 0.2}, "2": {b"a": 0.3, b"b": 0.4}}


class Service(ThreadingHTTPServer):
    """A service that answers by turns with two versions, as its `mood` is."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.mood = ""
        self.requests: Counter[bytes] = Counter()
        self.content_types: set[str | None] = set()


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service = self.server
        service.requests[body] += 1
        service.content_types.add(self.headers["Content-Type"])
        number = service.requests.total()
        if service.mood == "drops" and number % 3 == 0:
            self.close_connection = True
            return
        version = "12"[number % 2]
        named = "1" if service.mood == "mixes" else version
        prediction = {"model_version": named, "score": SCORES[version][body]}
        content = json.dumps({"predictions": [prediction]}).encode()
        self.send_response(429 if service.mood == "refuses" and number % 3 == 0 else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def load(service: Service, place: Path, **changes: Any) -> dict[str, Any]:
    bodies = [place / name for name in "ab"]
    for body in bodies:
        body.write_bytes(body.name.encode())
    scores = {version: list(of.values()) for version, of in SCORES.items()}
    url = f"http://127.0.0.1:{service.server_port}/predict"
    given = {"clients": 4, "seconds": 1.0, "warm_up": 0.2, "check": scores} | changes
    plan = Plan(url=url, content_type="image/jpeg", bodies=bodies, **given)
    file = place / "plan.json"
    file.write_text(plan.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.load_clients", file]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_response_counts_with_its_time_and_its_version(
    service: Service, tmp_path: Path
) -> None:
    found = load(service, tmp_path)
    assert set(found["statuses"]) == {"200"}
    assert set(found["versions"]) == {"1", "2"}
    assert found["mixed"] == 0
    assert sum(found["versions"].values()) == found["statuses"]["200"]
    assert found["images_per_s"] == found["statuses"]["200"] / found["seconds"]
    times = found["milliseconds"]
    assert 0 < times["p50"] <= times["p99"] < 1000 * found["seconds"]
    assert service.requests.total() > found["statuses"]["200"]  # those of the warm-up
    assert abs(service.requests[b"a"] - service.requests[b"b"]) <= 4
    assert service.content_types == {"image/jpeg"}


def test_a_dropped_request_is_counted_and_not_sent_again(service: Service, tmp_path: Path) -> None:
    service.mood = "drops"
    found = load(service, tmp_path)
    assert set(found["statuses"]) == {"200", "lost"}
    share = found["statuses"]["lost"] / sum(found["statuses"].values())
    assert share == pytest.approx(1 / 3, abs=0.1)


def test_refusals_are_no_images(service: Service, tmp_path: Path) -> None:
    service.mood = "refuses"
    found = load(service, tmp_path)
    assert set(found["statuses"]) == {"200", "429"}
    assert found["images_per_s"] == found["statuses"]["200"] / found["seconds"]


def test_a_score_of_another_version_than_the_named_one_is_noticed(
    service: Service, tmp_path: Path
) -> None:
    service.mood = "mixes"
    found = load(service, tmp_path)
    assert found["mixed"] == pytest.approx(found["statuses"]["200"] / 2, rel=0.1)


def test_requests_begin_at_a_steady_rate(service: Service, tmp_path: Path) -> None:
    found = load(service, tmp_path, per_second=20.0, seconds=3.0)
    assert sum(found["statuses"].values()) == pytest.approx(60, abs=4)


def test_it_ends_early_when_a_file_is_there(service: Service, tmp_path: Path) -> None:
    (tmp_path / "finished").touch()
    found = load(service, tmp_path, seconds=300.0, until=tmp_path / "finished")
    assert found["seconds"] < 60
