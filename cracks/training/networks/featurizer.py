"""Bring the features of every patch up to date: the half that is computed once, and its output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cracks.cluster.settings import cluster_settings
from cracks.dataset.shards import count_rows, read_contents
from cracks.images.decode import Pixels, decode_stored
from cracks.inference.runtime.networks import open_network
from cracks.system.atomic_files import atomic_replace
from cracks.system.hashing import digest_of_file
from cracks.system.progress import Advance, progress
from cracks.training.features.arrays import compute_features
from cracks.training.features.store import FeatureStore
from cracks.training.networks.architectures import build_backbone, build_frozen, build_resizing
from cracks.training.networks.halves import store_half
from cracks.workspace.params import NAMED_WEIGHTS, Params

#: Patches that show what the network takes: from some shards, some of each.
EXAMPLE_SHARDS, EXAMPLES_OF_SHARD = 8, 40


@dataclass(frozen=True)
class StoredFeaturizer:
    """What was found of the half that is computed once when it was stored."""

    feature_shape: tuple[int, ...]  # of one patch
    agreement: dict[str, float]  # with Keras, as `store_half` measures it


def store_featurizer(params: Params, shards: Sequence[Path], folder: Path) -> StoredFeaturizer:
    """Write the half that is computed once into `folder`, whole or not at all.

    Raises:
        WeightsError: `featurize.weights` is missing, damaged, or of another architecture.
        BundleError: OpenVINO's numbers are not those of Keras.
    """
    size, section = params.ingest.patch_size, params.featurize
    backbone = build_backbone(section)
    if params.mode == "probe":
        featurizer = build_frozen(backbone, size, section.image_size)
    else:
        featurizer = build_resizing(size, section.image_size)
    with atomic_replace(folder) as partial:
        examples = _examples(shards, size)
        agreement = store_half(featurizer, partial, section.precision, examples)
    return StoredFeaturizer(tuple(featurizer.output_shape[1:]), agreement)


def store_features(params: Params, shards: Sequence[Path], featurizer: Path, folder: Path) -> None:
    """Compute the features of the shards that `folder` does not know yet, and forget other ones.

    Where `DASK_SCHEDULER_ADDRESS` names a cluster, that computes them.

    Raises:
        WeightsError: a feature is no finite number.
        ClusterError: the cluster cannot do it.
    """
    section = params.featurize
    store = FeatureStore(folder, featurizer, section.precision)
    missing = store.missing(shards)
    if len(missing) < len(shards):
        print(f"  {len(shards) - len(missing)} of {len(shards)} shards known", file=sys.stderr)
    if missing:
        total = sum(map(count_rows, missing))
        with progress(total, "computing features", "images") as advance:
            _compute(params, missing, featurizer, store, advance)
    store.forget_all_but(shards)


def _compute(
    params: Params, shards: Sequence[Path], featurizer: Path, store: FeatureStore, advance: Advance
) -> None:
    """Compute the features of some shards, here or on the cluster, and keep them."""
    size, section = params.ingest.patch_size, params.featurize
    if cluster := cluster_settings():
        from cracks.cluster.features import store_features_on_cluster

        store_features_on_cluster(
            cluster,
            shards,
            featurizer,
            store,
            advance,
            precision=section.precision,
            size=size,
            batch_size=section.batch_size,
        )
        return
    network = open_network(featurizer, section.precision)
    for shard, rows in compute_features(network, shards, size, section.batch_size, advance):
        store.keep(shard, rows)


def digest_of_weights(weights: str) -> str | None:
    """Return the SHA-256 of the file that `featurize.weights` names, or None if it names none."""
    if weights in NAMED_WEIGHTS:
        return None
    return digest_of_file(Path(weights).expanduser())


def _examples(shards: Sequence[Path], size: int) -> Pixels:
    """Return patches from all over the data, uint8 (n, size, size, 3)."""
    picked = [
        shards[i] for i in np.unique(np.linspace(0, len(shards) - 1, EXAMPLE_SHARDS, dtype=int))
    ]
    contents = [
        content
        for shard in picked
        for content in read_contents(shard, list(range(min(count_rows(shard), EXAMPLES_OF_SHARD))))
    ]
    return np.stack([decode_stored(content, size) for content in contents])
