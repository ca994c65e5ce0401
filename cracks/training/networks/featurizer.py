"""Bring the features of every patch up to date: the half that is computed once, and its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cracks.dataset.shards import count_rows, read_contents
from cracks.images.decode import Pixels, decode_stored
from cracks.system.atomic_files import atomic_replace
from cracks.training.networks.architectures import build_backbone, build_frozen, build_resizing
from cracks.training.networks.halves import store_half
from cracks.workspace.params import Params

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
