"""Measure how long a call takes and how many images a second pass through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cracks.workspace.stage_reports import Latency

#: Seconds since any fixed moment.
Clock = Callable[[], float]

#: Calls before the clock counts: the first ones allocate memory and fill caches.
WARM_UP: Final = 3


def time_single(
    call: Callable[[], Any], repetitions: int, clock: Clock = time.perf_counter
) -> Latency:
    """Return how long `call` takes when nothing else runs meanwhile.

    Returns:
        `median_ms` and `p95_ms` of the repetitions, in milliseconds.
    """
    for _ in range(WARM_UP):
        call()
    milliseconds = [1000 * _seconds(call, clock) for _ in range(repetitions)]
    return {
        "median_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
    }


def _seconds(call: Callable[[], Any], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start
