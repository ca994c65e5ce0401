"""A real git server over HTTP (`git http-backend`) with users, some of whom may only read."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from processes import environment

#: What the users give as their passwords.
WORKER_TOKEN, READER_TOKEN = "token-of-the-worker", "token-of-a-reader"


@dataclass
class GitServer:
    """Serves the bare repositories in a folder."""

    place: Path
    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def git_server(place: Path) -> Iterator[GitServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    served = GitServer(place, f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = _handler(served)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


def _may_write(header: str) -> bool | None:
    """Return whether whoever sent these credentials may write; None for nobody known."""
    given = base64.b64decode(header.removeprefix("Basic ") or b"").decode()
    return {WORKER_TOKEN: True, READER_TOKEN: False}.get(given.partition(":")[2])


def _handler(served: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _serve(self) -> None:
            served.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            writes = _may_write(self.headers.get("Authorization", ""))
            if writes is None:
                self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
            elif not writes and "receive-pack" in self.path:
                self._answer(403, [], b"")
            else:
                self._answer(*self._ask_git(body))

        def _ask_git(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            address = urlsplit(self.path)
            variables = {
                "GIT_PROJECT_ROOT": str(served.place),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": address.path,
                "QUERY_STRING": address.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "worker",
                "HOME": os.devnull,
            }
            done = subprocess.run(
                ["git", "http-backend"],
                input=body,
                env=environment(**variables),
                capture_output=True,
                check=False,
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().splitlines()]
            headers = [(name, value) for name, _, value in lines if name != "Status"]
            status = next((value for name, _, value in lines if name == "Status"), "200 OK")
            return int(status.split()[0]), headers, content

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve  # noqa: N815

    return Handler
