"""Refuse to start where something else listens on a port of the stack."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from infra.stack.leftovers import processes
from infra.stack.settings import LOCALHOST, Stack, StackError, port_variable


def refuse_taken_ports(stack: Stack, ports: Mapping[str, int]) -> None:
    """Refuse to start where a port is taken by something that is not of this stack.

    Raises:
        StackError: one is; the message names it, and its owner where that can be seen.
    """
    taken = [name for name, port in ports.items() if not _is_free(port)]
    if not taken:
        return
    ours = {process.pid for process in processes(stack)}
    owners = _listening()
    for name in taken:
        port = ports[name]
        owner = owners.get(port)
        if owner in ours:
            continue
        raise StackError(
            f"Port {port}, which {name} wants, is taken{_who(owner)}. End that, or choose another: "
            f"make up {port_variable(name)}={_free_after(port)}"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that have just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


def _free_after(port: int) -> int:
    return next(number for number in range(port + 1, 65536) if _is_free(number))


def _listening() -> dict[int, int | None]:
    """Return the process that listens on each port, as far as this user may know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return {}
    return {one.laddr.port: one.pid for one in connections if one.status == psutil.CONN_LISTEN}


def _who(pid: int | None) -> str:
    if pid is None:
        return ""
    try:
        return f" by {psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f" by process {pid}"
