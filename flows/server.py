"""A Prefect server for as long as one flow runs, where none is configured."""

from __future__ import annotations

import atexit
import logging
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from cracks.errors import ServiceError

logger = logging.getLogger("cracks.prefect")

#: Seconds that a new database may take to be migrated, and that a server may take to end.
START_TIMEOUT, END_TIMEOUT = 120.0, 10.0


@contextmanager
def prefect_server() -> Iterator[None]:
    """Use the configured Prefect server, or start one that ends with this process.

    Prefect would start one by itself, but in the terminal's process group: Ctrl-C ends that server
    first, and the flow then waits a minute to tell it so.

    Raises:
        ServiceError: the server does not start; the message has its last line.
    """
    if PREFECT_API_URL.value():
        yield
        return
    logger.info("Starting a Prefect server for this run (PREFECT_API_URL names a standing one).")
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Python calls this after Prefect's threads have sent their last events.
        atexit.register(_end, process)
        _wait_until_up(process, url, log)
    with temporary_settings({PREFECT_API_URL: url}):
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: IO[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _is_up(url):
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            lines = log.read().strip().splitlines() or ["it said nothing"]
            raise ServiceError(
                f"The Prefect server does not start: {lines[-1]}. "
                "`prefect server start` shows more; PREFECT_API_URL names a standing one."
            )
        time.sleep(0.1)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
