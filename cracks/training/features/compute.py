"""Compute the features of patches, shard by shard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cracks.dataset.shards import count_rows, read_contents
from cracks.errors import WeightsError
from cracks.images.batches import decoded_batches
from cracks.images.decode import Pixels, decode_stored
from cracks.inference.runtime.openvino_runtime import Runs, open_network
from cracks.system.console import Advance, progress
from cracks.system.parallel import prefetch_map
from cracks.training.features.store import FeatureStore
from cracks.workspace.params import Params

#: Computes the features of shards and stores them: params, shards, folder of the featurizer, store,
#: and the callback for progress.
Compute = Callable[[Params, Sequence[Path], Path, FeatureStore, Advance], None]


def compute_here(
    params: Params, shards: Sequence[Path], featurizer: Path, store: FeatureStore, advance: Advance
) -> None:
    """Compute the features of some shards on this machine, and put them into `store`.

    Raises:
        WeightsError: a feature is no finite number.
    """
    section = params.featurize
    network = open_network(featurizer, section.precision)
    for shard, rows in features_of_shards(
        network, shards, params.ingest.patch_size, section.batch_size, advance
    ):
        store.put(shard, rows)


def update_features(
    params: Params,
    shards: Sequence[Path],
    featurizer: Path,
    folder: Path,
    compute: Compute = compute_here,
) -> None:
    """Compute the features of the shards that `folder` lacks, and remove those of no shard.

    Raises:
        WeightsError: a feature is no finite number; and what `compute` raises.
    """
    store = FeatureStore(folder, featurizer, params.featurize.precision)
    missing = store.missing(shards)
    if len(missing) < len(shards):
        print(f"  {len(shards) - len(missing)} of {len(shards)} shards known", file=sys.stderr)
    if missing:
        total = sum(map(count_rows, missing))
        with progress(total, "computing features", "images") as advance:
            compute(params, missing, featurizer, store, advance)
    store.prune(shards)


def features_of_shards(
    network: Runs, shards: Sequence[Path], size: int, batch_size: int, advance: Advance
) -> Iterator[tuple[Path, npt.NDArray[Any]]]:
    """Yield each shard with the features of its patches, in order; two shards are held at a time.

    Decoding, the network, and whatever is done with a shard's features overlap.

    Args:
        network: uint8 (n, size, size, 3) to `features`.
        shards: Parquet files of encoded images.
        size: pixels of the patches' width and height.
        batch_size: patches that the network gets at once.
        advance: called with the number that is done.

    Yields:
        uint8 (n, image_size, image_size, 3) of features that are pixels, to whole grey values,
        which is less than what augmentation changes; float32 (n, channels) of a backbone's.

    Raises:
        WeightsError: a feature is no finite number.
    """

    def batches() -> Iterator[Pixels]:
        for contents in prefetch_map(read_contents, shards, waiting=2):
            yield from decoded_batches(contents, size, batch_size, decode=decode_stored)

    stream = network.stream(batches())
    for shard in shards:
        parts, missing = [], count_rows(shard)
        while missing:
            part = _as_kept(next(stream)["features"])
            parts.append(part)
            missing -= len(part)
            advance(len(part))
        yield shard, _finite(np.concatenate(parts), shard.name)


def features_of(
    network: Runs, contents: Sequence[bytes], size: int, batch_size: int, shard: str
) -> npt.NDArray[Any]:
    """Return the features of the patches of one shard, as `features_of_shards` gives them.

    Args:
        network: uint8 (n, size, size, 3) to `features`.
        contents: the patches' files, in order.
        size: pixels of the patches' width and height.
        batch_size: patches that the network gets at once.
        shard: its name, for error messages.

    Raises:
        UnreadableImage: a patch does not decode; WeightsError: a feature is no finite number.
    """
    batches = decoded_batches(contents, size, batch_size, decode=decode_stored)
    parts = [_as_kept(outputs["features"]) for outputs in network.stream(batches)]
    return _finite(np.concatenate(parts), shard)


def _as_kept(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return features as they are stored: pixels to whole grey values."""
    return np.rint(part).astype(np.uint8) if part.ndim == 4 else part


def _finite(rows: npt.NDArray[Any], shard: str) -> npt.NDArray[Any]:
    if not np.isfinite(rows).all():
        raise WeightsError(
            f"featurize.weights: the network gives numbers that are not finite, first for "
            f"{shard}. The weights are damaged; give a whole file."
        )
    return rows
