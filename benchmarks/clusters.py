"""A Dask cluster on this machine: a scheduler and one-thread workers in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.scratch import Scratch, free_port, tool

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
    options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "2GiB", "--local-directory")
    folder = scratch.place / "dask"
    with ExitStack() as stack:

        def start(name: str, said: str, *arguments: object) -> None:
            command = tool("dask", *arguments, "--host", "127.0.0.1", "--no-dashboard")
            process = scratch.started(name, command, scratch.place, **SETTINGS, **variables)
            started = stack.enter_context(process)
            started.wait_until(lambda text: said in text, said, STARTED_WITHIN)

        start("scheduler", "Scheduler at:", "scheduler", "--port", port)
        for number in range(workers):
            start(f"worker-{number}", "Registered to:", "worker", address, *options, folder)
        yield address
