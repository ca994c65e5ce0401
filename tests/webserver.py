"""A real web server as a data repository runs it: a portal that lists, and a store that holds.

The portal answers with a listing, and sends whoever wants a file on to the store, which listens on
another port. The store knows ranges. What goes wrong is said in advance, one fault a request.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import struct
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from processes import wait_until

DATASET = "5y9wdsg2zt"

#: Answers one request in place of the server.
Fault = Callable[["Handler"], None]


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    path: str
    range: str | None
    encoding: str | None


class FileServer:
    """Serves files on 127.0.0.1 until it is closed."""

    def __init__(self, **files: bytes) -> None:
        """Hold `files`, each under an id; their names are set in `names` where they differ."""
        self.files = files
        self.names = {id_: f"{id_}.rar" for id_ in files}
        self.portal, self.store = Host(self, _serve_portal), Host(self, _serve_store)
        #: What the portal answers instead of the true listing.
        self.listing: Any = None
        #: Bytes that were sent by an endless answer.
        self.sent = 0
        #: Set when an answer that hangs must go on.
        self.released = threading.Event()

    @property
    def base(self) -> str:
        """What stands before `/datasets` in the address of the listing."""
        return f"{self.portal.url}/public-api"

    def url(self, id_: str) -> str:
        """Return the address that the listing gives for a file."""
        return f"{self.portal.url}/public-files/datasets/{DATASET}/files/{id_}/file_downloaded"

    @property
    def ranges(self) -> list[str | None]:
        """The Range of every request that the store got."""
        return [request.range for request in self.store.requests]

    def listed(self) -> list[dict[str, Any]]:
        """Return what the real interface says of the files, and what nobody here needs of them."""
        return [self._listed_file(id_) for id_ in self.files]

    def _listed_file(self, id_: str) -> dict[str, Any]:
        content = self.files[id_]
        details = {
            "id": f"content-of-{id_}",
            "sha256_hash": hashlib.sha256(content).hexdigest(),
            "content_type": "application/x-rar-compressed",
            "size": len(content),
            "created_date": "2019-07-23T10:19:14.000Z",
            "download_url": self.url(id_),
            "view_url": self.url(id_).replace("downloaded", "viewed"),
            "download_expiry_time": f"{time.time():.3f}",
        }
        return {
            "filename": self.names[id_],
            "id": id_,
            "size": len(content),
            "content_details": details,
            "status": "completed",
        }

    def __enter__(self) -> FileServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.portal.close()
        self.store.close()


class Host:
    """One of the two servers, with what it was asked and what it will do wrong."""

    def __init__(self, owner: FileServer, serve: Callable[[Handler], None]) -> None:
        self.owner, self.serve = owner, serve
        self.requests: list[Request] = []
        self._faults: deque[Fault] = deque()
        handler = type("HandlerOfHost", (Handler,), {"host": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def will(self, *faults: Fault) -> None:
        """Answer the next requests with these faults, and those that follow as it should be."""
        self._faults.extend(faults)

    def forget(self) -> None:
        """Answer as it should be from now on."""
        self._faults.clear()

    def answer(self, handler: Handler) -> None:
        headers = handler.headers
        self.requests.append(
            Request(handler.path, headers.get("Range"), headers.get("Accept-Encoding"))
        )
        # A client may have gone before the end, and often should.
        with suppress(OSError):
            (self._faults.popleft() if self._faults else self.serve)(handler)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; `host` is set by the server."""

    host: Host
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms between its head and its body

    def do_GET(self) -> None:
        self.host.answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (named by its base)
        """Keep the output of the tests clean."""

    @property
    def file(self) -> bytes:
        """The content of the file that the address names."""
        return self.host.owner.files[urlsplit(self.path).path.strip("/")]

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status: int, body: bytes, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.start(status, {"Content-Length": str(len(body)), **named})
        self.wfile.write(body)

    def begin(self) -> bytes:
        """Send the head of the right answer for a file, and return the body that belongs to it."""
        content = self.file
        common = {
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/x-rar-compressed",
        }
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        if asked and first >= len(content):
            self.start(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return b""
        body = content[first:]
        if asked:
            common["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.start(206 if asked else 200, {"Content-Length": str(len(body)), **common})
        return body

    def send_share(self, share: float) -> None:
        """Send that share of the right answer for a file, of which all was announced."""
        body = self.begin()
        self.wfile.write(body[: int(len(body) * share)])
        self.wfile.flush()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True


def _serve_portal(handler: Handler) -> None:
    owner, path = handler.host.owner, urlsplit(handler.path).path
    if path == f"/public-api/datasets/{DATASET}/files":
        listing = owner.listed() if owner.listing is None else owner.listing
        body = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
        handler.send(200, body, Content_Type="application/json")
        return
    found = re.fullmatch(rf"/public-files/datasets/{DATASET}/files/([^/]+)/file_downloaded", path)
    if found and found[1] in owner.files:
        handler.send(302, b"moved", Location=f"{owner.store.url}/{found[1]}?X-Signature=abc")
    else:
        handler.send(404, b"nothing here")


def _serve_store(handler: Handler) -> None:
    handler.send_share(1)


def cut(share: float) -> Fault:
    """Send that share of what was announced, then close the connection."""

    def answer(handler: Handler) -> None:
        handler.send_share(share)
        handler.hang_up()

    return answer


def reset(share: float) -> Fault:
    """Send that share, then break the connection as a router does that lost its power."""

    def answer(handler: Handler) -> None:
        handler.send_share(share)
        wait_until(lambda: _unsent(handler.connection) == 0, "the client to take its share")
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.close_connection = True
        # The server itself would say goodbye before it closes.
        os.close(handler.connection.detach())

    return answer


def _unsent(connection: socket.socket) -> int:
    """Return how many bytes a reset would throw away."""
    answer = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def stop(share: float) -> Fault:
    """Send that share, then nothing until the server is released."""

    def answer(handler: Handler) -> None:
        handler.send_share(share)
        handler.host.owner.released.wait(30)
        handler.hang_up()

    return answer


def hang(handler: Handler) -> None:
    """Give no answer until the server is released."""
    handler.host.owner.released.wait(30)
    handler.hang_up()


def end_early(share: float) -> Fault:
    """Send that share as if it were all, without saying how long it is."""

    def answer(handler: Handler) -> None:
        content = handler.file
        handler.start(200, {"Connection": "close"})
        handler.wfile.write(content[: int(len(content) * share)])
        handler.hang_up()

    return answer


def refuse(status: int, retry_after: str | None = None) -> Fault:
    """Answer with an error, and maybe with the time when to come again."""

    headers = {} if retry_after is None else {"Retry_After": retry_after}
    return send(b"no", status, **headers)


def send(body: bytes, status: int = 200, **headers: str) -> Fault:
    """Answer with something else than what was asked for."""
    return lambda handler: handler.send(status, body, **headers)


def ignore_range(then: Fault | None = None) -> Fault:
    """Answer as if a whole file had been asked for."""

    def answer(handler: Handler) -> None:
        del handler.headers["Range"]
        (then or _serve_store)(handler)

    return answer


def never_end(handler: Handler) -> None:
    """Send zeros until the client hangs up."""
    handler.start(200, {"Connection": "close"})
    try:
        while not handler.host.owner.released.is_set():
            handler.host.owner.sent += handler.connection.send(bytes(10_000))
    finally:
        handler.hang_up()


#: Close the connection without any answer.
close_at_once: Fault = Handler.hang_up

#: Answer with the page of a network that asks for a login.
page = send(b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")
