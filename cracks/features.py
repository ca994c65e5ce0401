"""Compute the features of every patch once, and read back those of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cracks.errors import UnreadableImage, WorkspaceError
from cracks.images import Pixels, decode_to_size
from cracks.labels import CRACK
from cracks.progress import Advance
from cracks.runtime import Network


@dataclass(frozen=True)
class SplitFeatures:
    """The distinct patches of one split, sorted by id."""

    ids: list[str]
    cracked: npt.NDArray[np.bool_]  # (n,)
    features: npt.NDArray[Any]  # (n, …)


def decoded_batches(
    contents: Sequence[bytes], size: int, batch_size: int, names: Sequence[str] | None = None
) -> Iterator[Pixels]:
    """Yield uint8 (at most batch_size, size, size, 3) batches, decoded by several threads.

    Raises:
        UnreadableImage: an image does not decode; the message begins with its name, if given.
    """

    def decoded(position: int) -> Pixels:
        try:
            return decode_to_size(contents[position], size)
        except UnreadableImage as error:
            if names is None:
                raise
            raise UnreadableImage(f"{names[position]}: {error}") from None

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(contents), batch_size):
            part = range(start, min(start + batch_size, len(contents)))
            yield np.stack(list(pool.map(decoded, part)))


def compute_features(
    network: Network, contents: list[bytes], size: int, batch_size: int, advance: Advance
) -> npt.NDArray[Any]:
    """Return the features of encoded images, in order.

    Features that are pixels (n, size, size, 3) come back as uint8, which they fit exactly;
    those of a backbone as float32 (n, channels).
    """

    def batches() -> Iterator[Pixels]:
        for batch in decoded_batches(contents, size, batch_size):
            yield batch
            advance(len(batch))

    rows = np.concatenate(network.run_all(batches()))
    return rows.astype(np.uint8) if rows.ndim == 4 else rows


def features_file(folder: Path, shard: str) -> Path:
    """Return the place of the features of a shard."""
    return folder / Path(shard).with_suffix(".npy").name


def split_features(folder: Path, manifest: pa.Table, splits: pa.Table, split: str) -> SplitFeatures:
    """Return the features of one split; of byte-identical copies the first stands for all.

    Raises:
        WorkspaceError: features of a shard are missing or do not match it.
    """
    members = splits.filter(pc.equal(splits["split"], split))
    place_of = _places(manifest)
    ids = members["id"].to_pylist()
    shards = {shard for shard, _ in (place_of[id_] for id_ in ids)}
    arrays = {shard: _read(features_file(folder, shard)) for shard in shards}
    for id_ in ids:
        shard, row = place_of[id_]
        if row >= len(arrays[shard]):
            raise WorkspaceError(
                f"{features_file(folder, shard)} does not match its shard. "
                "Run `dvc repro featurize`."
            )
    # Rows are taken from memory maps: only what the split needs is read.
    rows = [arrays[shard][row] for shard, row in (place_of[id_] for id_ in ids)]
    cracked = np.array([label == CRACK for label in members["label"].to_pylist()])
    return SplitFeatures(ids, cracked, np.stack(rows))


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
