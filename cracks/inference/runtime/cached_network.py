"""A network with a cache: its outputs are stored by the digest of their inputs.

A training that changes only the head computes nothing of the frozen half again.
"""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cracks.inference.runtime.openvino_runtime import Batch, Outputs, Runs
from cracks.system.atomic_files import atomic_replace
from cracks.system.hashing import digest_of_bytes, digest_of_file, digest_of_value

#: What runs networks; another version may give other last bits.
RUNTIMES: Final = ("keras", "openvino", "tensorflow")

Features = npt.NDArray[np.float32]


class CachedNetwork:
    """A network from batches to features that are vectors, with a cache in a file."""

    def __init__(self, network: Callable[[], Runs], identity: str, file: Path) -> None:
        """Read the cache of the network from `file`, if there is one.

        Args:
            network: opens it; called only if an input is not in the cache.
            identity: a digest that no other network has; see `identity_of`.
            file: the cache, an .npz.
        """
        self._open, self._identity, self._file = network, identity, file
        self._cache = _read_cache(file, identity)
        self._used: dict[str, Features] = {}

    @cached_property
    def _network(self) -> Runs:
        return self._open()

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the features of each batch, in order; only those of new ones are computed."""
        waiting, new = deque[str](), deque[str]()
        for rows in self._computed(self._only_new(batches, waiting, new)):
            self._used[new.popleft()] = rows
            yield from self._ready(waiting)
        yield from self._ready(waiting)

    def save(self) -> None:
        """Save the entries that were used since this was opened; older ones are dropped."""
        used = dict(sorted(self._used.items()))
        # numpy dates every member 1980-01-01: equal contents give equal bytes.
        with atomic_replace(self._file) as partial, partial.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                identity=np.array(self._identity),
                keys=np.array(list(used), "U64"),
                counts=np.array([len(rows) for rows in used.values()], np.int64),
                rows=np.concatenate([*used.values()] or [np.zeros((0, 0), np.float32)]),
            )

    def _computed(self, batches: Iterator[Batch]) -> Iterator[Features]:
        first = next(batches, None)
        if first is not None:
            for part in self._network.stream(chain([first], batches)):
                yield part["features"]

    def _only_new(
        self, batches: Iterable[Batch], waiting: deque[str], new: deque[str]
    ) -> Iterator[Batch]:
        """Yield the batches that must be computed; say which are `waiting` and which are `new`."""
        for batch in batches:
            key = _key(batch)
            waiting.append(key)
            if key in self._cache:
                self._used[key] = self._cache[key]
            elif key not in self._used and key not in new:
                new.append(key)
                yield batch

    def _ready(self, waiting: deque[str]) -> Iterator[Outputs]:
        while waiting and waiting[0] in self._used:
            yield {"features": self._used[waiting.popleft()]}


def identity_of(folder: Path, precision: str) -> str:
    """Return a digest of the network in `folder`, of its precision, and of the runtimes."""
    files = {file.name: digest_of_file(file) for file in sorted(folder.iterdir())}
    return digest_of_value([files, precision, {name: version(name) for name in RUNTIMES}])


def _key(batch: Batch) -> str:
    return digest_of_value([batch.shape, batch.dtype.str, digest_of_bytes(batch.tobytes())])


def _read_cache(file: Path, identity: str) -> dict[str, Features]:
    """Return the features of each batch by its key; none if it is damaged or another network's."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as cached:
            if str(cached["identity"]) != identity:
                return {}
            keys, ends, rows = cached["keys"].tolist(), np.cumsum(cached["counts"]), cached["rows"]
            return dict(zip(keys, np.split(rows, ends[:-1]), strict=True)) if keys else {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
