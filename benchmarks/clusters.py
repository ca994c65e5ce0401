"""A Dask cluster on this machine: a scheduler and one-thread workers in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from benchmarks.scratch import TOOLS, MeasurementFailed, Scratch, free_port

#: Seconds in which scheduler and workers must be there.
STARTED_WITHIN = 120

#: As infra/cluster.compose.yaml starts workers.
SETTINGS = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}


@contextmanager
def dask_cluster(scratch: Scratch, workers: int, variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the address of a cluster; it ends with the block.

    Args:
        scratch: where everything happens.
        workers: of one thread each.
        variables: by which they reach the storage, and find the code that is measured.

    Raises:
        MeasurementFailed: it does not start.
    """
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    with ExitStack() as stack:

        def start(name: str, said: str, *arguments: str | Path) -> None:
            log = scratch.temporary / name
            command = [TOOLS / "dask", *arguments, "--host", "127.0.0.1"]
            settings = {**SETTINGS, **variables}
            process = stack.enter_context(scratch.started(command, log, scratch.place, **settings))
            _wait_until(process, log, said)

        start("scheduler", "Scheduler at:", "scheduler", "--port", str(port), "--no-dashboard")
        for number in range(workers):
            options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "2GiB"]
            folder = scratch.place / "dask"
            start(
                f"worker-{number}",
                "Registered to:",
                *("worker", address, *options, "--local-directory", folder),
            )
        yield address


def _wait_until(process: Popen[bytes], log: Path, said: str) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while said not in (text := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise MeasurementFailed(f"{log.name} does not start: {text.strip()[-200:]}")
        time.sleep(0.05)
