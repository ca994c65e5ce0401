"""Read JSON that clients send, without trusting how it is made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool

from cracks.images.decode import Pixels
from serving.settings import MEGABYTE, ServiceSettings

Read = TypeVar("Read")

#: Lists of a few bytes of text become objects of hundreds, so one document is read at a time.
_one_at_a_time = asyncio.Semaphore(1)


async def read_document(
    content: bytes, settings: ServiceSettings, read: Callable[[Any], Read]
) -> Read:
    """Return what `read` makes of a JSON document; all of it happens beside the event loop.

    Raises:
        HTTPException: 413 for too long a text, 400 for none that is JSON.
    """
    if len(content) > settings.max_json_mb * MEGABYTE:
        raise HTTPException(
            413,
            f"More than {settings.max_json_mb} MiB of JSON. Send less at a time, or images as "
            "files to /predict.",
        )
    async with _one_at_a_time:
        return await run_in_threadpool(lambda: read(_parsed(content)))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is no JSON: {error}") from None


def as_patches(values: Any, size: int, most: int) -> Pixels:
    """Return pixels that came as numbers as uint8 RGB (n, size, size, 3).

    Args:
        values: an array, or lists in lists, of whole numbers from 0 to 255.
        size: pixels of a side that the model takes.
        most: patches that are allowed.

    Raises:
        HTTPException: 400 for other numbers or another shape, 413 for too many.
    """
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError, RecursionError):
        raise HTTPException(400, "The pixels are ragged: no lists of equal lengths.") from None
    if array.ndim != 4 or array.shape[1:] != (size, size, 3) or not len(array):
        shape = "×".join(map(str, array.shape)) or "one number"
        raise HTTPException(
            400, f"The pixels have the shape {shape}; this model takes n×{size}×{size}×3."
        )
    if len(array) > most:
        raise HTTPException(413, f"{len(array)} images in one request; at most {most}.")
    return _bytes(array)


def _bytes(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise HTTPException(400, "The pixels are to be whole numbers from 0 to 255 (uint8).")
    return array.astype(np.uint8)
