"""Whatever is sent to the service: it predicts or refuses, lives on, and leaves nothing behind."""

from __future__ import annotations

import base64
import os
import random
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from damaged import damages, hostile_images
from processes import TOOLS, StartProcess, environment

from cracks.images.synthetic_concrete import draw_sample
from tests.integration.bundles import grey_image, hand_over, make_bundle
from tests.integration.services import Service, ServiceProcess, make_workspace, serving

#: How many damaged images are sent, and about as many requests made up from the description of the
#: interface. 2000 take some minutes.
UPLOADS = int(os.environ.get("CRACKS_TEST_UPLOADS", "100"))

#: Clients at a time, and operations of the interface in which there is much to vary.
CLIENTS, OPERATIONS = 8, 8

#: Bytes of memory that nobody may drive the service to.
MOST_MEMORY = 1_500_000_000

#: What may be said of an image: predicted, no request, too large, no image, too much to do.
SAID = {200, 400, 413, 415, 429}

SCHEMATHESIS = """
[parameters]
"path.name" = "classifier"
"path.version" = "1"
"""


@dataclass(frozen=True)
class Watched:
    """A service, and the folder in which it could leave something."""

    service: ServiceProcess
    place: Path

    @property
    def left(self) -> list[Path]:
        """What was written beside the service folder."""
        kept = (self.place / "service", self.place / "v1")
        return [
            path
            for path in self.place.rglob("*")
            if path.is_file() and not any(path.is_relative_to(one) for one in kept)
        ]

    @property
    def peak(self) -> int:
        """The most bytes of memory that it had at a time (proc_pid_status(5), VmHWM)."""
        status = Path(f"/proc/{self.service.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def require_unharmed(self) -> None:
        (prediction,) = self.service.predict(column=grey_image(200))
        assert prediction["label"] == "crack"
        assert "Traceback" not in self.service.process.stderr
        assert self.peak < MOST_MEMORY
        assert sorted(self.left) == [self.place / "workspace/dvc.yaml"]


@pytest.fixture(scope="module")
def watched(
    start_for_module: StartProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    place = tmp_path_factory.mktemp("fuzzed")
    workspace = make_workspace(place / "workspace")
    homes = {"TMPDIR": place / "temporary", "HOME": place / "home"}
    for home in homes.values():
        home.mkdir()
    hand_over(place / "service", make_bundle(place / "v1", novelty=True), "1")
    with serving(
        start_for_module,
        workspace,
        place / "service",
        variables={name: str(home) for name, home in homes.items()},
        cwd=place,
    ) as service:
        service.wait_for_version("1")
        yield Watched(service, place)


def sent(client: httpx.Client, way: int, name: str, content: bytes) -> httpx.Response:
    """Send an image in one of the ways that there are."""
    match way % 4:
        case 0:
            return client.post("/predict", files={"files": (name, content)})
        case 1:
            return client.post(
                "/predict", content=content, headers={"Content-Type": "application/octet-stream"}
            )
        case 2:
            return client.post("/inspect", files={"photo": (name, content)})
        case _:
            data = [base64.b64encode(content).decode()]
            tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": data}
            return client.post("/v2/models/classifier/infer", json={"inputs": [tensor]})


def send_all(service: Service, images: dict[str, bytes], ways: int = 4) -> Counter[int]:
    """Send all images, several at a time, and count what was said."""

    def send(numbered: tuple[int, tuple[str, bytes]]) -> int:
        number, (name, content) = numbered
        response = sent(service.client, number % ways, name, content)
        assert response.status_code in SAID, f"{name}: {response.status_code} {response.text[:500]}"
        if response.status_code != 200:
            assert len(response.json()["detail"].splitlines()) == 1
        return response.status_code

    service.client.timeout = httpx.Timeout(90)
    with ThreadPoolExecutor(CLIENTS) as clients:
        return Counter(clients.map(send, enumerate(images.items())))


def test_damaged_images_are_predicted_or_refused(watched: Watched) -> None:
    rng = random.Random(2026)
    good = [content for _, content in draw_sample(20, seed=8)]
    damaged = {
        f"../{number}\r\n\x00{suffix}": content
        for number, (suffix, content) in enumerate(damages(rng, good, UPLOADS))
    }
    said = send_all(watched.service, damaged)
    assert said[200] > UPLOADS / 20, "some of it decodes nevertheless"
    assert said[415] > UPLOADS / 4
    watched.require_unharmed()


def test_hostile_images_cost_no_more_than_others(watched: Watched) -> None:
    images = hostile_images()
    for way in (2, 1):  # each of them as a patch, and as a photograph
        send_all(watched.service, images, way)
    watched.require_unharmed()


@pytest.mark.slow
def test_what_schemathesis_makes_up_is_answered_as_described(
    watched: Watched, tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    url = watched.service.url
    command = f"run {url}/openapi.json --url {url} --phases examples,coverage,fuzzing --checks all"
    done = subprocess.run(
        [
            *(TOOLS / "schemathesis", "--config-file", tmp_path / "schemathesis.toml"),
            *command.split(),
            # No schema can say that bytes are to be an image, or pixels to be of a model's size.
            *("--exclude-checks", "positive_data_acceptance"),
            # Of some operations there is less to make up than is asked for.
            *("--max-examples", str(max(5, UPLOADS * 5 // 4 // OPERATIONS)), "--seed", "2026"),
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found
    assert int(found[1]) >= UPLOADS
    watched.require_unharmed()


POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
HARDLY_HTTP = {
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "endless length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "longer than sent": POST + b"Content-Length: 100\r\n\r\n\xff\xd8",
    "shorter than sent": POST + b"Content-Length: 2\r\n\r\n\xff\xd8GET /model HTTP/1.1\r\n\r\n",
    "no chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "endless chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffff\r\n",
    "zero byte": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "path upwards": b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "path upwards in disguise": b"GET /page/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 50_000 + b"\r\n",
}


@pytest.mark.parametrize("request_", HARDLY_HTTP.values(), ids=HARDLY_HTTP)
def test_what_is_hardly_http_is_refused(watched: Watched, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", watched.service.port), timeout=10) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"root:" not in said
    assert not re.match(rb"HTTP/1.1 5", said)
    watched.require_unharmed()
