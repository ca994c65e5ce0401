"""`cracks serve`: start the HTTP service."""

from __future__ import annotations

import json
import socket
import sys
from typing import Annotated

import typer

from cracks.errors import ServiceError
from cracks.paths import open_workspace


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Answer over HTTP with the champion, and follow promotions without a restart.

    Try it: `curl -F files=@column-07.jpg http://127.0.0.1:8000/predict`. Ctrl-C stops it after the
    requests under way.
    """
    import uvicorn

    from serving.app import create_app

    service = open_workspace(context.obj).service
    with _listening(host, port) as listener:
        url = f"http://{host}:{listener.getsockname()[1]}"
        print(json.dumps({"url": url}) if as_json else f"Serving on {url}", flush=True)
        config = uvicorn.Config(create_app(service), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


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
