"""`cracks serve`: start the HTTP service and its page."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cracks.errors import ServiceError
from cracks.workspace.paths import open_workspace

if TYPE_CHECKING:
    from serving.settings import ServiceSettings

#: Addresses that only this machine reaches.
LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    open_: Annotated[
        bool, typer.Option("--open", help="Serve anybody who reaches the address, without a key.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the port and the cores.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Serve the champion over HTTP, and follow promotions without a restart.

    On this machine, for oneself: `cracks serve --open`, then open the address in a browser, or
    `curl -F files=@column-07.jpg http://127.0.0.1:8000/predict`.

    For others: `cracks keys create ann`, then `cracks serve --host 0.0.0.0` behind a proxy that
    speaks TLS, and `curl -H "X-API-Key: KEY" …`. Each line of the log names the key's owner.

    Limits are set by variables CRACKS_SERVE_*, see .env.example. `/metrics` is for Prometheus,
    `/openapi.json` describes the interface. Ctrl-C ends it after the requests under way.
    """
    from serving.settings import settings_of
    from serving.workers import serve as run

    chosen = {"open": True} if open_ else {}
    given = {} if processes is None else {"processes": processes}
    settings = settings_of(open_workspace(context.obj).service, **chosen, **given)
    _require_keys(settings)
    with _listening(host, port) as listener:
        _tell(settings, host, listener.getsockname()[1], as_json)
        if not run(settings, listener):
            sys.exit(1)


def _require_keys(settings: ServiceSettings) -> None:
    from serving.middleware.api_keys import read_keys

    if settings.open or any(not key.revoked for key in read_keys(settings.keys)):
        return
    raise ServiceError(
        f"Nobody has a key yet ({settings.keys}). Create one with `cracks keys create NAME`, or "
        "start with --open to serve anybody who reaches the address."
    )


def _tell(settings: ServiceSettings, host: str, port: int, as_json: bool) -> None:
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    print(json.dumps({"url": url}) if as_json else f"Serving on {url} (the page: {url}/)")
    sys.stdout.flush()
    if settings.open and host not in LOCAL:
        print(
            f"warning: anybody who reaches {host} port {port} is served without a key (--open).",
            file=sys.stderr,
            flush=True,
        )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ServiceError(
            f"Cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another one with --port, or --port 0 for any free one."
        ) from None
    return listener
