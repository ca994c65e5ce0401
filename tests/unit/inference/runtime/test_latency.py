"""Latency and throughput, with a clock that only the calls move."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from cracks.inference.runtime.latency import WARM_UP, time_single


class FakeClock:
    """A clock that stands still but for the calls that take their time from it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def call(self, seconds: Iterable[float]) -> Callable[[], None]:
        durations = iter(seconds)

        def taking_its_time() -> None:
            self.now += next(durations)

        return taking_its_time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_latency_is_the_median_and_the_95th_percentile_in_milliseconds(clock: FakeClock) -> None:
    call = clock.call([0.0] * WARM_UP + [n / 1000 for n in range(1, 102)])
    assert time_single(call, 101, clock) == pytest.approx({"median_ms": 51.0, "p95_ms": 96.0})


def test_the_first_calls_are_slower_and_do_not_count(clock: FakeClock) -> None:
    call = clock.call([9.0] * WARM_UP + [0.002] * 4)
    assert time_single(call, 4, clock) == pytest.approx({"median_ms": 2.0, "p95_ms": 2.0})


def test_one_slow_call_does_not_move_the_median(clock: FakeClock) -> None:
    call = clock.call([0.0] * WARM_UP + [0.002, 0.002, 5.0, 0.002, 0.002])
    assert time_single(call, 5, clock)["median_ms"] == pytest.approx(2.0)


def test_the_default_clock_is_real() -> None:
    assert 0 <= time_single(lambda: sum(range(1000)), 5)["median_ms"] < 1000
