"""Compute the features of every patch once, and read back those of a split."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.labels import CRACK, LABELS
from cracks.errors import DataError, WorkspaceError


class FeatureRows:
    """Rows of several arrays on disk, in an order of their own; read when they are requested."""

    def __init__(
        self, arrays: Sequence[npt.NDArray[Any]], array_of: npt.ArrayLike, row_of: npt.ArrayLike
    ) -> None:
        """Take memory-mapped arrays (…, *shape), and of each row (n,) its array and its place."""
        self._arrays = arrays
        self._array_of, self._row_of = np.asarray(array_of, np.intp), np.asarray(row_of, np.intp)
        self.shape: tuple[int, ...] = arrays[0].shape[1:]  # of one row
        self.dtype = arrays[0].dtype

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> FeatureRows:
        """Return all the rows of one array in its order."""
        return cls([array], np.zeros(len(array)), np.arange(len(array)))

    def __len__(self) -> int:
        return len(self._row_of)

    def take(self, positions: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the rows at some positions, (k, *shape).

        Raises:
            DataError: a row holds NaN or an infinite number.
        """
        positions = np.asarray(positions, np.intp)
        rows = np.empty((len(positions), *self.shape), self.dtype)
        array_of = self._array_of[positions]
        for number in np.unique(array_of):
            wanted = array_of == number
            rows[wanted] = self._arrays[number][self._row_of[positions[wanted]]]
            _release_pages(self._arrays[number])
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise DataError(
                "The features hold numbers that are not finite. Remove data/features and run "
                "`dvc repro featurize`; if it happens again, the file of weights is damaged."
            )
        return rows

    def all(self) -> npt.NDArray[Any]:
        """Return all rows, (n, *shape)."""
        return self.take(np.arange(len(self)))

    def batches(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the rows as float32 in batches of at most `size`, as networks take them."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self)))).astype(np.float32)


@dataclass(frozen=True)
class SplitFeatures:
    """The distinct patches of one split, sorted by id."""

    split: str
    ids: list[str]
    cracked: npt.NDArray[np.bool_]  # (n,)
    groups: list[str]  # what each of them must stay together with
    features: FeatureRows

    def part(self, positions: npt.NDArray[np.intp]) -> SplitFeatures:
        """Return some of the patches, in the order of `positions`."""
        features = self.features
        rows = FeatureRows(
            features._arrays, features._array_of[positions], features._row_of[positions]
        )
        return replace(
            self,
            ids=[self.ids[i] for i in positions],
            cracked=self.cracked[positions],
            groups=[self.groups[i] for i in positions],
            features=rows,
        )


def features_file(folder: Path, shard: str) -> Path:
    """Return the place of the features of a shard."""
    return folder / Path(shard).with_suffix(".npy").name


def split_features(folder: Path, manifest: pa.Table, splits: pa.Table, split: str) -> SplitFeatures:
    """Return the features of one split; of byte-identical copies the first stands for all.

    Raises:
        WorkspaceError: features of a shard are missing or do not match it.
        DataError: one of the labels does not occur.
    """
    members = splits.filter(pc.equal(splits["split"], split))
    labels = members["label"].to_pylist()
    _require_both_labels(labels, split)
    ids, places = members["id"].to_pylist(), _places(manifest)
    shards = sorted({places[id_][0] for id_ in ids})
    number_of = {shard: number for number, shard in enumerate(shards)}
    rows = FeatureRows(
        [_read(features_file(folder, shard)) for shard in shards],
        [number_of[places[id_][0]] for id_ in ids],
        [places[id_][1] for id_ in ids],
    )
    _require_matching(rows, shards, folder)
    cracked = np.array([label == CRACK for label in labels])
    return SplitFeatures(split, ids, cracked, members["group"].to_pylist(), rows)


def _require_both_labels(labels: Iterable[str], split: str) -> None:
    if missing := set(LABELS) - set(labels):
        raise DataError(
            f"The split `{split}` has no patch labelled {' or '.join(sorted(missing))}. Add "
            "photographs of that kind to ingest.source, or change the shares in `split`."
        )


def _require_matching(rows: FeatureRows, shards: Sequence[str], folder: Path) -> None:
    for number, shard in enumerate(shards):
        array = rows._arrays[number]
        last = rows._row_of[rows._array_of == number].max()
        if last >= len(array) or (array.shape[1:], array.dtype) != (rows.shape, rows.dtype):
            raise WorkspaceError(
                f"{features_file(folder, shard)} does not match its shard. "
                "Run `dvc repro featurize`."
            )


def _places(manifest: pa.Table) -> dict[str, tuple[str, int]]:
    columns = (manifest[name].to_pylist() for name in ("id", "shard", "row"))
    places: dict[str, tuple[str, int]] = {}
    for id_, shard, row in zip(*columns, strict=True):
        places.setdefault(id_, (shard, row))
    return places


def _read(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except (OSError, ValueError, EOFError) as error:
        raise WorkspaceError(
            f"{path} cannot be read ({error}). Run `dvc repro featurize`."
        ) from None


def _release_pages(array: npt.NDArray[Any]) -> None:
    # What was read stays in the system's cache, but no longer counts as this process's memory.
    mapped = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)
