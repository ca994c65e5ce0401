"""What Keras predicts, to compare the runtime with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.shards import contents_of, rows_of
from cracks.images.batches import decoded_batches
from cracks.images.decode import decode_stored
from cracks.inference.runtime.cached_network import CachedNetwork, identity_of
from cracks.inference.runtime.openvino_runtime import Batch, Outputs, joined
from cracks.training.networks.fit import score
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table

#: Patches that Keras gets at once.
BATCH_SIZE = 16


class KerasNetwork:
    """A featurizer in Keras with the interface of `openvino_runtime.Network`."""

    def __init__(self, featurizer: keras.Model) -> None:
        """Take the half that is computed once."""
        self._model = featurizer

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Yield the outputs for each batch, in order."""
        for batch in batches:
            yield {"features": np.asarray(self._model.predict_on_batch(batch), np.float32)}


def keras_scores(
    featurizer: keras.Model, trainable: keras.Model, params: Params, paths: Paths, cache: Path
) -> pa.Table:
    """Return the scores of Keras for some patches of test, id and raw_score; for comparison only.

    The outputs of the frozen half are cached in a file: with another head only the head is
    computed. `export.compared_patches` says how many patches.
    """
    splits, manifest = read_table(paths.splits), read_table(paths.manifest)
    ids = splits.filter(pc.equal(splits["split"], "test"))["id"].to_pylist()
    picked = [ids[i] for i in evenly(len(ids), params.export.compared_patches)]
    contents = contents_of(rows_of(picked, manifest), paths.images)
    patches = decoded_batches(contents, params.ingest.patch_size, BATCH_SIZE, decode=decode_stored)
    network = KerasNetwork(featurizer)
    identity = identity_of(paths.featurizer, params.featurize.precision)
    cached = CachedNetwork(lambda: network, identity, cache)
    # Pixels are many, and made in no time.
    chosen = cached if params.mode == "probe" else network
    features = joined(chosen.stream(patches))["features"]
    cached.save()
    return pa.table({"id": picked, "raw_score": score(trainable, features)})


def evenly(count: int, at_most: int) -> list[int]:
    """Return at most so many positions, evenly picked from 0 to `count` - 1, ascending."""
    return sorted({int(i) for i in np.linspace(0, count - 1, at_most)})
