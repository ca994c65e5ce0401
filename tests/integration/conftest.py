"""Fixtures that start real processes, and the end of each of them whatever becomes of the test."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from .processes import RunningProcess

_running: list[RunningProcess] = []


class StartProcess(Protocol):
    """Starts a command that is ended with the fixture's scope."""

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "",
    ) -> RunningProcess: ...


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProcess]:
    yield from _starting(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProcess]:
    yield from _starting(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="session")
def start_for_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProcess]:
    yield from _starting(tmp_path_factory.mktemp("processes"))


def _starting(logs: Path) -> Iterator[StartProcess]:
    numbers = itertools.count()
    with ExitStack() as stack:

        def started(
            command: Sequence[str | Path],
            *,
            variables: Mapping[str, str] | None = None,
            cwd: Path | None = None,
            name: str = "",
        ) -> RunningProcess:
            folder = logs / str(next(numbers))
            process = RunningProcess(command, folder, variables=variables, cwd=cwd, name=name)
            _running.append(process)
            stack.callback(_running.remove, process)
            stack.callback(process.end)
            return process

        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show for a failed test what the processes said."""
    report = yield
    if report.failed:
        report.sections += [(f"process {one.name}", one.log) for one in _running]
    return report
