"""An example of a receiver of MLflow's registry events; copy it, it needs nothing but Python.

    CRACKS_WEBHOOK_SECRET=… python docs/examples/webhook_receiver.py --port 9000

A delivery is believed only if it is signed with the secret, was sent within the last five minutes,
and has not come before; anything else is answered 401. MLflow signs `id.timestamp.body` with
HMAC-SHA256 and sends `v1,` and the signature in base64 (mlflow/webhooks/delivery.py, which follows
standardwebhooks.com).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET_VARIABLE = "CRACKS_WEBHOOK_SECRET"

#: Seconds by which a delivery may be older, or a clock be wrong.
WINDOW = 300

#: Bytes of a delivery that are read at all.
LARGEST_BODY = 1024 * 1024


class Refused(Exception):
    """A delivery that is not believed."""


class Deliveries:
    """Believes each delivery once."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seen: dict[str, float] = {}
        self._one_at_a_time = threading.Lock()

    def check(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """Return if a delivery is to be believed, and never again for the same one.

        Raises:
            Refused: it is not signed, too old, or has come before.
        """
        id_, timestamp, signature = (
            headers.get(f"X-MLflow-{name}") or ""
            for name in ("Delivery-Id", "Timestamp", "Signature")
        )
        signed = b".".join([id_.encode(), timestamp.encode(), body])
        digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        # First of all: of what is not signed nothing is believed, the time neither.
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise Refused("the signature is not that of the secret")
        if not timestamp.isascii() or not timestamp.isdigit():
            raise Refused("it does not say when it was sent")
        if abs(now - int(timestamp)) > WINDOW:
            raise Refused(f"it was not sent within the last {WINDOW} s")
        with self._one_at_a_time:
            self._seen = {one: at for one, at in self._seen.items() if now - at <= 2 * WINDOW}
            if id_ in self._seen:
                raise Refused("it has come before")
            self._seen[id_] = now


def announcement(event: Mapping[str, Any]) -> str:
    """Return in one line what happened; here a message to a team would be sent."""
    kind, data = f"{event.get('entity')}.{event.get('action')}", event.get("data") or {}
    model, version, alias = (data.get(key) for key in ("name", "version", "alias"))
    if kind == "model_version_alias.created" and alias == "champion":
        return f"promotion: version {version} of {model} is the champion"
    if kind == "model_version_alias.created":
        return f"version {version} of {model} is now called {alias}"
    if kind == "model_version_alias.deleted":
        return f"no version of {model} is called {alias} any more"
    if kind == "model_version.created":
        return f"version {version} of {model} was registered"
    return f"{kind} of {model}"


class Receiver(BaseHTTPRequestHandler):
    """Answers one delivery: 204 if it is believed, 401 if not."""

    deliveries: Deliveries
    timeout = 10

    def do_POST(self) -> None:
        """Check one delivery, announce it, and answer."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LARGEST_BODY:
            self._answer(413, "a delivery says its length, and is short")
            return
        body = self.rfile.read(int(length))
        try:
            self.deliveries.check(self.headers, body, time.time())
            line = announcement(json.loads(body))
        except Refused as refused:
            self._answer(401, str(refused))
            return
        except (ValueError, AttributeError):  # signed, but no JSON, or no object
            self._answer(400, "it is no event")
            return
        print(line, flush=True)
        self._answer(204)

    def _answer(self, status: int, reason: str = "") -> None:
        content = reason.encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if reason:
            print(f"refused ({status}): {reason}", file=sys.stderr, flush=True)

    def log_message(self, *_: Any) -> None:
        """Say nothing else of a request."""


def main() -> int:
    """Receive until interrupted."""
    parser = argparse.ArgumentParser(description="Receive the registry events of MLflow.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0 takes any free one")
    arguments = parser.parse_args()
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        print(f"error: {SECRET_VARIABLE} is not set.", file=sys.stderr)
        return 1
    handler = type("ReceiverOfSecret", (Receiver,), {"deliveries": Deliveries(secret)})
    with ThreadingHTTPServer((arguments.host, arguments.port), handler) as server:
        print(f"Receiving at http://{arguments.host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
