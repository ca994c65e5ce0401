"""Prefetch: compute results in several threads before they are needed, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

#: Threads, and results that may wait: enough to keep two cores busy, few enough to stay small.
THREADS, WAITING = 2, 8

_in_one_thread: ContextVar[bool] = ContextVar("in_one_thread", default=False)


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Let this thread do one thing after the other: nothing is prefetched in the block.

    For workers that share a machine by their number: each of them takes one core, no more.
    """
    token = _in_one_thread.set(True)
    try:
        yield
    finally:
        _in_one_thread.reset(token)


def is_in_one_thread() -> bool:
    """Return whether this thread is to do one thing after the other."""
    return _in_one_thread.get()


def prefetch_map(
    function: Callable[[Given], Result], items: Iterable[Given], waiting: int = WAITING
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, while the next ones are being computed.

    Unlike `Executor.map` it takes items only as they are needed, so that memory stays small.

    Args:
        function: runs in another thread.
        items: are taken in order.
        waiting: results that exist at most, the one that is asked for among them.
    """
    if is_in_one_thread():
        yield from map(function, items)
        return
    results: deque[Future[Result]] = deque()
    pool, waits = ThreadPoolExecutor(THREADS), True
    try:
        for item in items:
            results.append(pool.submit(function, item))
            if len(results) == waiting:
                yield results.popleft().result()
        while results:
            yield results.popleft().result()
    except GeneratorExit:
        # The garbage collector closes what was given up, too, in whatever thread it runs. In one
        # that is just starting, to wait for another thread is to wait for ever.
        waits = False
        raise
    finally:
        pool.shutdown(wait=waits, cancel_futures=True)
