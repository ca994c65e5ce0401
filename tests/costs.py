"""What a run of the tests costs and may cost, in which order it goes, and what it leaves out."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

import pytest

#: How many of the most expensive tests and fixtures a run prints.
SHOWN = 10

#: The layers in the order in which they are run: the short files of the last one fill what is left
#: of the time, so that all workers end together.
LAYERS = ("tests/stack", "tests/e2e", "tests/integration", "tests/unit")

#: What is left out, by the marker that leaves it out, and what runs it.
LEFT_OUT = {
    "stack": "tests of the whole stack (`make test-stack`)",
    "slow": "slow tests (`make test-all`)",
    "": "tests that -m or -k did not choose",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="fail the run if a single test or fixture takes longer",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config))


class Costs:
    """The seconds of each test and of each fixture, on whichever worker they were spent."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        # Of a processor that several workers share, each test has a part only.
        workers = len(config.getoption("tx", None) or [1])
        busy = max(1, workers / (os.cpu_count() or 1))
        budget: float | None = config.getoption("budget")
        self._budget = budget and budget * busy
        self._seconds: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()
        self._set_up: list[tuple[str, float]] = []  # fixtures, since the last report

    # --- where the tests run ----------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        def layer(item: pytest.Item) -> int:
            return next((n for n, name in enumerate(LAYERS) if item.nodeid.startswith(name)), 0)

        items.sort(key=layer)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            marks = {mark.name for mark in item.iter_markers()}
            self._left_out[next(name for name in LEFT_OUT if name in marks or not name)] += 1
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["left_out"] = dict(self._left_out)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            name = f"fixture {fixturedef.argname} of {fixturedef.baseid or 'a plugin'}"
            self._set_up.append((name, time.perf_counter() - start))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        report.fixtures, self._set_up = self._set_up, []
        return report

    # --- where the results are shown --------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, seconds in report.fixtures:
            self._seconds[name] = max(seconds, self._seconds.get(name, 0))
        if report.when == "call":
            self._seconds[report.nodeid] = report.duration

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # Each worker collects the same tests.
        self._left_out = Counter(getattr(node, "workeroutput", {}).get("left_out", self._left_out))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._over_budget() and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        most = sorted(self._seconds.items(), key=lambda one: -one[1])[:SHOWN]
        if most:
            terminalreporter.section("most expensive tests and fixtures")
        for name, seconds in most:
            terminalreporter.line(f"{seconds:7.2f} s  {name}")
        for name, seconds in self._over_budget():
            terminalreporter.line(
                f"error: {name} took {seconds:.0f} s, and {self._budget:.0f} s are allowed. "
                "Make it quicker, or mark it `slow` and leave it to `make test-all`.",
                red=True,
            )
        if self._left_out:
            left_out = ", ".join(f"{n} {LEFT_OUT[name]}" for name, n in self._left_out.items())
            terminalreporter.line(f"Not run: {left_out}.")
        if not self._is_whole():
            terminalreporter.line(
                f"Run were only the tests in {' '.join(self._config.args)}. `make test` runs every "
                "tool once too, `make test-all` everything."
            )

    def _over_budget(self) -> list[tuple[str, float]]:
        if self._budget is None:
            return []
        return [one for one in self._seconds.items() if one[1] > self._budget]

    def _is_whole(self) -> bool:
        return list(self._config.args) == self._config.getini("testpaths")
