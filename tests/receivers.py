"""Who is told: a webhook and Slack's, as one web server, and a mail server."""

from __future__ import annotations

import json
import quopri
import ssl
import sys
import threading
from ast import literal_eval
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import RunningProcess, StartProcess, free_port

SLACK = "hooks.slack.com"
SLACK_URL = f"https://{SLACK}/services/T0000CRAC/B0000CRAC/abcdefghijklmnopqrstuvwx"


class Receiver:
    """Takes what is posted to it; as a proxy it is Slack, for whoever trusts its certificate."""

    def __init__(self, place: Path) -> None:
        self.certificate = place / "certificate.pem"
        _write_certificate(self.certificate, SLACK)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        received: list[tuple[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                assert self.path == f"{SLACK}:443", self.path
                self.send_response(200)
                self.end_headers()
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb")
                self.wfile = self.connection.makefile("wb", buffering=0)
                self.close_connection = False  # what is asked for comes now

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.headers["Host"], json.loads(content)))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *arguments: Any) -> None:
                pass

        self._received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs to find Slack here."""
        return {"HTTPS_PROXY": self.url, "REQUESTS_CA_BUNDLE": str(self.certificate)}

    def webhook(self, part: str) -> list[Any]:
        """Return what the webhook was sent that has `part` in it."""
        return self._of(part, slack=False)

    def slack(self, part: str) -> list[Any]:
        return self._of(part, slack=True)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _of(self, part: str, *, slack: bool) -> list[Any]:
        return [
            content
            for host, content in self._received
            if host.startswith(SLACK) == slack and part in json.dumps(content)
        ]


class MailServer:
    """The SMTP server of Python's standard library, which prints what it is sent."""

    def __init__(self, start: StartProcess) -> None:
        self.port = free_port()
        command = [sys.executable, "-W", "ignore", "-m", "smtpd", "-n", "-c", "DebuggingServer"]
        self._process: RunningProcess = start([*command, f"127.0.0.1:{self.port}"], name="smtpd")

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=cracks@example.org&to=ann@example.org"

    def mails(self, part: str) -> list[str]:
        """Return the mails that have `part` in them."""
        printed = self._process.stdout.split("MESSAGE FOLLOWS")[1:]
        # The boundary between parts, such as `==89…`, may look like a byte that is no UTF-8.
        mails = [quopri.decodestring(_sent(one)).decode(errors="replace") for one in printed]
        return [mail for mail in mails if part in mail]


def _sent(printed: str) -> bytes:
    """Return the lines of a mail, of which each was printed as Python writes bytes."""
    lines = (line for line in printed.splitlines() if line.startswith(("b'", 'b"')))
    return b"\n".join(literal_eval(line) for line in lines)


def _write_certificate(file: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
