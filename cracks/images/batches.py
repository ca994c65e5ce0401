"""Decode images in batches that are prefetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cracks.errors import UnreadableImage
from cracks.images.decode import Pixels, decode_to_size
from cracks.system.parallel import prefetch_map


def decoded_batches(
    contents: Sequence[bytes],
    size: int,
    batch_size: int,
    names: Sequence[str] | None = None,
    decode: Callable[[bytes, int], Pixels] = decode_to_size,
) -> Iterator[Pixels]:
    """Return uint8 (at most batch_size, size, size, 3) batches, prefetched by several threads.

    Raises:
        UnreadableImage: an image does not decode; the message begins with its name, if given.
    """

    def decoded(part: range) -> Pixels:
        return np.stack([named(position) for position in part])

    def named(position: int) -> Pixels:
        try:
            return decode(contents[position], size)
        except UnreadableImage as error:
            if names is None:
                raise
            raise UnreadableImage(f"{names[position]}: {error}") from None

    starts = range(0, len(contents), batch_size)
    parts = (range(start, min(start + batch_size, len(contents))) for start in starts)
    return prefetch_map(decoded, parts)
