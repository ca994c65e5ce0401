"""Compute ahead of whoever needs the results, in several threads, and hand them over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

#: Threads, and results that may wait: enough to keep two cores busy, few enough to stay small.
THREADS, WAITING = 2, 8


def computed_ahead(function: Callable[[Given], Result], items: Iterable[Given]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, while the next ones are being computed.

    Unlike `Executor.map` it takes items only as they are needed, so that memory stays small.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
