"""Photographs: together they have no more pixels than the largest single one may have."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cracks.system.console import Advance
from serving.engine.photo_slots import PhotoSlots


@pytest.mark.parametrize(("pixels", "together"), [(50, True), (51, False), (100, False)])
def test_photographs_are_inspected_together_if_their_pixels_have_room(
    pixels: int, together: bool
) -> None:
    both = threading.Barrier(2)

    def meets_the_other(_: Advance) -> bool:
        try:
            both.wait(20 if together else 0.2)
        except threading.BrokenBarrierError:
            return False
        return True

    async def inspect_two() -> list[bool]:
        slots = PhotoSlots(2, 100)
        return await asyncio.gather(*(slots.run(pixels, meets_the_other) for _ in range(2)))

    assert asyncio.run(inspect_two()) == [together] * 2
