"""Processes of a stack that nobody watches any more, because what had started them was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from infra.stack.local import MARK
from infra.stack.settings import Stack

#: Seconds that they have to end before they are killed.
GRACE = 10.0

#: Prefect sets it in the process of a flow run, and so in all that this starts.
FLOW_RUN = "PREFECT__FLOW_RUN_ID"


def end_leftovers(stack: Stack, service: str | None = None, *, flow_runs: bool) -> int:
    """End what is left of a service, or of the whole stack; return how many processes that were.

    A flow run outlives its worker, and may well finish: it is ended only if that is asked for.
    """
    found = list(_leftovers(stack, service, flow_runs=flow_runs))
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(found, timeout=GRACE)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=GRACE)
    return len(found)


def processes(stack: Stack) -> list[psutil.Process]:
    """Return every process of the stack, watched or not, except this one."""
    return list(_leftovers(stack, None, flow_runs=True))


def _leftovers(stack: Stack, service: str | None, *, flow_runs: bool) -> Iterator[psutil.Process]:
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid in spared or process.status() == psutil.STATUS_ZOMBIE:
                continue
            found = _service_of(stack, process)
            if found and service in (None, found) and (flow_runs or not _is_flow_run(process)):
                yield process


def _service_of(stack: Stack, process: psutil.Process) -> str | None:
    """Return the service that a process belongs to; None if it is not of this stack."""
    folder, _, name = str(process.environ().get(MARK, "")).rpartition("#")
    if folder == str(stack.folder):
        return name
    # PostgreSQL writes what it does over its environment.
    if Path(process.cwd()) == stack.databases:
        return "postgresql"
    return None


def _is_flow_run(process: psutil.Process) -> bool:
    return FLOW_RUN in process.environ()
