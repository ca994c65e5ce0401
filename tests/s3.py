"""A real S3 endpoint (rclone over a folder), and a proxy that counts and spoils what it answers."""

from __future__ import annotations

import http.client
import itertools
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from processes import CHECKOUT, RunningProcess, StartProcess, free_port

ACCESS_KEY, SECRET_KEY = "tester-of-cracks", "secret-of-cracks"

_numbers = itertools.count(1)


def rclone() -> Path:
    """Return where `make setup` puts rclone, or what CRACKS_RCLONE names."""
    return Path(os.environ.get("CRACKS_RCLONE", CHECKOUT / ".tools" / "rclone"))


@dataclass(frozen=True)
class S3Server:
    url: str
    place: Path
    process: RunningProcess

    @classmethod
    def start(cls, start: StartProcess, place: Path) -> S3Server:
        """Serve the folder `place`: each folder in it is a bucket, each file an object."""
        port = free_port()
        # What tests lay into the folder is seen at once; with a time of 0 rclone 1.75 spins.
        settings = ["--config", "", "--dir-cache-time", "1ms", "--poll-interval", "0"]
        settings += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", f"127.0.0.1:{port}"]
        command: list[str | Path] = [rclone(), "serve", "s3", *settings, place]
        process = start(command, name="rclone serve s3")
        process.wait_until(lambda: "Starting s3 server" in process.stderr, "the S3 endpoint")
        return cls(f"http://127.0.0.1:{port}", place, process)

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs to use this server and no other."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(self.place / "no-settings"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.place / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            # rclone does not know the checksums that clients add by themselves.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def new_bucket(self) -> Path:
        """Return the folder of a bucket that no other test has."""
        bucket = self.place / f"bucket-{next(_numbers)}"
        bucket.mkdir()
        return bucket


@dataclass
class Response:
    """What the server says; `sent` is how many bytes of the body arrive, if not all."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None


#: Takes the request (such as `GET /bucket/key bytes=5-`) and what the server says to it.
Spoil = Callable[[str, Response], Response]


def use_s3(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 find these settings and no others."""
    for name in filter(lambda name: name.startswith("AWS_"), list(os.environ)):
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def before(part: str, act: Callable[[], object]) -> Spoil:
    """Do something before each response to a request that has `part` in it."""

    def pass_on(request: str, response: Response) -> Response:
        if part in request:
            act()
        return response

    return pass_on


def slow_down() -> Response:
    return Response(503, {}, b"<Error><Code>SlowDown</Code><Message>Reduce it</Message></Error>")


@dataclass
class S3Proxy:
    """Stands before an S3 server: keeps what was asked, and lets a test spoil the answers."""

    upstream: str
    asked: list[str] = field(default_factory=list)
    spoil: Spoil | None = None
    #: Whether an upload that asks whether its body is wanted is told so.
    gives_leave: bool = True
    #: 0 is any that is free.
    port: int = 0

    def __enter__(self) -> S3Proxy:
        self._server = _HttpServer(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def downloads(self) -> list[str]:
        """What was asked for, as keys, each followed by the range if one was given."""
        gets = (request.split("/", 2) for request in self.asked if request.startswith("GET"))
        return [rest[2] for rest in gets if len(rest) == 3 and rest[2]]

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        request = " ".join(filter(None, [method, path, headers.get("Range", "")]))
        self.asked.append(request)
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=30)
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        answer = Response(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return self.spoil(request, answer) if self.spoil else answer


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a test that leaves an answer unsent does not wait for it
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that was killed."""


def _handler(proxy: S3Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # headers and body in one packet

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def handle_expect_100(self) -> bool:
            return super().handle_expect_100() if proxy.gives_leave else True

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = proxy.answer(self.command, self.path, dict(self.headers), body)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length", "0")
            is_head = self.command == "HEAD"
            self.send_header("Content-Length", length if is_head else str(len(answer.body)))
            self.end_headers()
            self.wfile.write(b"" if is_head else answer.body[: answer.sent])
            self.wfile.flush()
            self.close_connection = answer.sent is not None

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    return Handler
