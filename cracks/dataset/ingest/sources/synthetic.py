"""The photographs that the embedded generator draws."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from cracks.dataset.ingest.sources.base import Source
from cracks.dataset.photos.photo_table import PHOTO_TABLE
from cracks.images.synthetic_concrete import (
    GENERATOR_VERSION,
    Origin,
    draw_sample,
    origins_of_sample,
)
from cracks.system.hashing import digest_of_value


class DrawnSource(Source):
    """The drawn sample, `ingest.source: sample`."""

    def __init__(self, patches: int, seed: int) -> None:
        super().__init__("sample")
        self._patches, self._seed = patches, seed

    def paths(self) -> list[str]:
        """Return the names that the generator gives."""
        return [origin.name for origin in origins_of_sample(self._patches)]

    def digest(self) -> str:
        """Return a digest of what decides the drawing."""
        return digest_of_value(["sample", GENERATOR_VERSION, self._patches, self._seed])

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Draw the files with every core."""
        yield from draw_sample(self._patches, self._seed, processes=os.cpu_count() or 1)

    def photo_tables(self) -> dict[str, bytes]:
        """Return a table with the photograph, the site and the time of each patch, as drawn."""
        return {PHOTO_TABLE: table_of(origins_of_sample(self._patches))}


def table_of(origins: Iterable[Origin]) -> bytes:
    """Return the table that says where drawn patches come from, as CSV."""
    rows = [f"{one.name},{one.photo},{one.site},{one.taken.isoformat()}" for one in origins]
    return "\n".join(["path,photo,site,taken", *rows]).encode()
