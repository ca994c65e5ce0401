"""Serve in one process, or in several that share one socket and the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any, Final

from cracks.inference.runtime.openvino_runtime import keep_blas_to_one_thread
from serving.settings import ServiceSettings
from serving.telemetry.json_logs import log_as_json
from serving.telemetry.metrics import SHARED

if TYPE_CHECKING:
    from fastapi import FastAPI

#: The variable that hands the settings to the processes, as JSON.
SETTINGS: Final = "CRACKS_SERVICE_SETTINGS"

#: Seconds without a sign of life after which a process is killed and another one started.
HUNG_AFTER: Final = 30

#: Seconds that a connection is kept for another request; longer than clients and proxies keep it,
#: so that none of them sends a request into a connection that is just being closed.
KEEP_ALIVE: Final = 75

#: How uvicorn serves: `serving.middleware.request_log` logs the requests; no WebSockets.
UVICORN: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "ws": "none",
    "timeout_keep_alive": KEEP_ALIVE,
}


def serve(settings: ServiceSettings, listener: socket.socket) -> bool:
    """Serve until SIGINT or SIGTERM, and finish the requests under way then.

    Args:
        settings: of the service; `processes` says how many there are.
        listener: already listens.

    Returns:
        Whether the service could start.
    """
    log_as_json()
    if settings.processes == 1:
        return _serve_alone(settings, listener)
    with tempfile.TemporaryDirectory(prefix="cracks-metrics-") as shared:
        os.environ |= {SETTINGS: settings.model_dump_json(), SHARED: shared}
        return _serve_together(settings.processes, listener)


def create_worker() -> FastAPI:
    """Return the service of one of several processes; uvicorn calls it in each of them."""
    from serving.app import create_app

    log_as_json()
    keep_blas_to_one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return create_app(ServiceSettings.model_validate_json(os.environ[SETTINGS]))


def _serve_alone(settings: ServiceSettings, listener: socket.socket) -> bool:
    import uvicorn

    from serving.app import create_app

    keep_blas_to_one_thread()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), **UVICORN))
    server.run(sockets=[listener])
    return server.started


def _serve_together(processes: int, listener: socket.socket) -> bool:
    import uvicorn
    from prometheus_client.multiprocess import mark_process_dead
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    class Supervisor(Multiprocess):
        """Starts again a process that has died, and takes its gauges away."""

        def keep_subprocess_alive(self) -> None:
            before = {process.pid for process in self.processes}
            for process in self.processes:
                # The process's own end of the pipe. Open here, too, it would hide that the process
                # has died while it was asked for a sign of life.
                process.child_conn.close()
            super().keep_subprocess_alive()
            for pid in before - {process.pid for process in self.processes}:
                mark_process_dead(pid)  # type: ignore[no-untyped-call]

    config = uvicorn.Config(
        "serving.workers:create_worker",
        factory=True,
        workers=processes,
        timeout_worker_healthcheck=HUNG_AFTER,
        **UVICORN,
    )
    supervisor = Supervisor(config, sockets=[listener])
    supervisor.run()
    return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)


def _end_with_parent() -> None:
    """End when the process that started this one is killed: nobody would end it otherwise."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
