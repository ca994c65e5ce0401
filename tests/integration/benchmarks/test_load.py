"""The load that services are measured under, with a server that refuses and drops."""

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

from tests.unit.builders import write_files


class Service(ThreadingHTTPServer):
    """A service that drops every third request and refuses every fourth."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: Counter[bytes] = Counter()
        self.content_types: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        service = self.server
        service.bodies[self.rfile.read(int(self.headers["Content-Length"]))] += 1
        service.content_types.add(self.headers["Content-Type"])
        number = service.bodies.total()
        if number % 3 == 0:
            self.close_connection = True
            return
        self.send_response(429 if number % 4 == 0 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

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


def test_each_response_counts_once_and_only_predictions_are_images(
    service: Service, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{service.server_port}/predict"
    bodies = write_files(tmp_path / "bodies", {"0": b"a", "1": b"b"})
    command = [sys.executable, "-m", "benchmarks.load_clients", url, bodies, "image/jpeg", "4", "2"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    statuses = found["statuses"]
    assert set(statuses) == {"200", "429", "lost"}
    assert found["images_per_s"] == statuses["200"] / found["seconds"]
    # A dropped request that was sent again would be fewer than a third of what is counted.
    assert statuses["lost"] / sum(statuses.values()) == pytest.approx(1 / 3, abs=0.1)
    times = found["milliseconds"]
    assert 0 < times["p50"] <= times["p99"] < 1000 * found["seconds"]
    assert service.bodies.total() > sum(statuses.values())  # those of the warm-up
    assert abs(service.bodies[b"a"] - service.bodies[b"b"]) <= 4
    assert service.content_types == {"image/jpeg"}
