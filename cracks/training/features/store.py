"""The features on disk, an array a shard: those in the cache are never computed again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.system.atomic_files import atomic_replace, write_json
from cracks.system.hashing import digest_of_file, digest_of_value
from cracks.training.features.arrays import features_file

#: Names what each array was computed from, by which network.
INDEX = "index.json"


class FeatureStore:
    """Arrays of features in a folder, and what each of them was computed from.

    An array is written atomically, so the run after a killed one finds it.
    """

    def __init__(self, folder: Path, featurizer: Path, precision: str) -> None:
        """Open the store for one network.

        Args:
            folder: where the arrays lie; made if there is none.
            featurizer: folder of the half that computes them.
            precision: that it computes in.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        files = {file.name: digest_of_file(file) for file in sorted(featurizer.iterdir())}
        self._network = digest_of_value([files, precision])
        self._digests: dict[Path, str] = {}

    def missing(self, shards: Sequence[Path]) -> list[Path]:
        """Return the shards without stored features, in order."""
        index = self._index()
        return [
            shard
            for shard in shards
            if index.get(shard.name) != self._origin(shard)
            or not _is_whole(features_file(self._folder, shard.name))
        ]

    def put(self, shard: Path, rows: npt.NDArray[Any]) -> None:
        """Write the features of a shard, (n, …), atomically."""
        place = features_file(self._folder, shard.name)
        # Removed from the index first: an index that names an array is always right.
        self._write({name: of for name, of in self._index().items() if name != shard.name})
        with atomic_replace(place) as partial, partial.open("wb") as file:
            np.save(file, rows, allow_pickle=False)
        self._write(self._index() | {shard.name: self._origin(shard)})

    def prune(self, shards: Sequence[Path]) -> None:
        """Remove what belongs to no shard any more, or was left by a killed process."""
        known = {features_file(self._folder, shard.name).name for shard in shards} | {INDEX}
        for file in self._folder.iterdir():
            if file.name not in known:
                file.unlink()
        index = self._index()
        self._write({shard.name: index[shard.name] for shard in shards})

    def _origin(self, shard: Path) -> str:
        if shard not in self._digests:
            self._digests[shard] = digest_of_value([self._network, digest_of_file(shard)])
        return self._digests[shard]

    def _index(self) -> dict[str, str]:
        try:
            index = json.loads((self._folder / INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return index if isinstance(index, dict) else {}

    def _write(self, index: dict[str, str]) -> None:
        write_json(self._folder / INDEX, dict(sorted(index.items())))


def _is_whole(array: Path) -> bool:
    """Return whether the file has all that its header promises; only the header is read."""
    try:
        np.load(array, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return True
