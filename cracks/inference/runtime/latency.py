"""Measure how long a call takes and how many images a second pass through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

#: Seconds since any fixed moment.
Clock = Callable[[], float]

#: Calls before the clock counts: the first ones allocate memory and fill caches.
WARM_UP: Final = 3


def time_single(
    call: Callable[[], Any], repetitions: int, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Return how long `call` takes when nothing else is asked meanwhile.

    Returns:
        `median_ms` and `p95_ms` of the repetitions, in milliseconds.

    Raises:
        ValueError: fewer than one repetition.
    """
    if repetitions < 1:
        raise ValueError(f"{repetitions} repetitions tell no latency")
    for _ in range(WARM_UP):
        call()
    milliseconds = [1000 * _seconds(call, clock) for _ in range(repetitions)]
    return {
        "median_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
    }


def time_throughput(
    calls: Mapping[str, Callable[[], Any]],
    images: int,
    rounds: int,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """Return the images a second of each of several calls that are to be compared.

    The calls take turns, and of each the best round counts: another process can only slow a round
    down, and one that works for a while must not slow down one call more than the other.

    Args:
        calls: each handles `images` images when called.
        images: in one call.
        rounds: how often each call is timed, after one that is not.
        clock: seconds.

    Raises:
        ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds tell no throughput")
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], _seconds(call, clock))
    return {name: images / seconds for name, seconds in best.items()}


def _seconds(call: Callable[[], Any], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start
