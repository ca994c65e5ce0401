"""Unit tests start no process, listen on no port and load no TensorFlow: whichever does, fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: What the interpreter reports before it does it, and what a unit test would do with it.
FORBIDDEN = {
    "os.exec": "start a process",
    "os.fork": "start a process",
    "os.forkpty": "start a process",
    "os.posix_spawn": "start a process",
    "os.system": "start a process",
    "socket.bind": "listen on a port",
    "subprocess.Popen": "start a process",
}

_watched = False


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or arguments[:1] == ("lscpu",):  # joblib counts the cores with it
        return
    doing = FORBIDDEN.get(event)
    if event == "import" and arguments[0] == "tensorflow":
        doing = "load TensorFlow"
    if doing:
        pytest.fail(f"A unit test must not {doing}: its place is tests/integration.")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with _watching():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with _watching():
        return (yield)


@contextmanager
def _watching() -> Iterator[None]:
    global _watched
    _watched = True
    try:
        yield
    finally:
        _watched = False
