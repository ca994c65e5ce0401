"""Bound how many whole photographs are inspected at a time, by their number and by their pixels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from fastapi import HTTPException

from cracks.system.console import Advance
from serving.schemas.problems import RETRY_AFTER

Result = TypeVar("Result")


class _GivenUp(Exception):
    """Nobody waits for the response any more."""


class PhotoSlots:
    """Lets few photographs be inspected at a time, a few more wait, and refuses the rest.

    All that are inspected together have no more pixels than the largest single one may have, so
    that memory is bounded by that and not by a multiple of it.
    """

    def __init__(self, most: int, pixels: int) -> None:
        """Make room for `most` photographs of `pixels` together, and as many that wait."""
        self._most, self._pixels = most, pixels
        self._inside = self._pixels_inside = self._waiting = 0
        self._turn, self._left = asyncio.Lock(), asyncio.Condition()

    async def run(self, pixels: int, work: Callable[[Advance], Result]) -> Result:
        """Return what `work` does in a thread, when there is room for it.

        Work whose request has gone or has taken too long is ended when it next says how far it is;
        its room is free when it has really ended.

        Raises:
            HTTPException: 429, too many are waiting.
        """
        if self._waiting >= self._most:
            said = "Too many photographs at the moment. Send it again in a moment."
            raise HTTPException(429, said, {"Retry-After": str(RETRY_AFTER)})
        await self._enter(pixels)
        given_up = threading.Event()

        def continue_or_stop(_: int) -> None:
            if given_up.is_set():
                raise _GivenUp

        working = asyncio.create_task(self._work(pixels, work, continue_or_stop))
        # Asked for its end, or that of work that was given up would be logged as forgotten.
        working.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return await asyncio.shield(working)
        finally:
            given_up.set()

    async def _enter(self, pixels: int) -> None:
        self._waiting += 1
        try:
            # One after the other, or a large one would wait endlessly behind small ones.
            async with self._turn, self._left:
                await self._left.wait_for(lambda: self._has_room(pixels))
                self._inside += 1
                self._pixels_inside += pixels
        finally:
            self._waiting -= 1

    def _has_room(self, pixels: int) -> bool:
        return self._inside < self._most and self._pixels_inside + pixels <= self._pixels

    async def _work(
        self, pixels: int, work: Callable[[Advance], Result], advance: Advance
    ) -> Result:
        try:
            return await asyncio.to_thread(work, advance)
        finally:
            async with self._left:
                self._inside -= 1
                self._pixels_inside -= pixels
                self._left.notify_all()
