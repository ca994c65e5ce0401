"""`python -m benchmarks.timings WHAT …`: time one thing in a workspace and print it as JSON.

    single-image            one photograph, by the bundle
    single-image-in-keras   one photograph, by Keras' `predict`
    random-weights          write the weights that stand in for trained ones
    store-network           store the network that features are computed with
    features SHARDS DIR     compute the features of the first shards into DIR, here or, where
                            DASK_SCHEDULER_ADDRESS says so, on the cluster

The workspace is the current folder. Each runs in a process of its own, so that nothing else has
warmed up or filled the memory for it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from cracks.cluster.dispatch import compute_features
from cracks.dataset.shards import count_rows, read_contents, shard_files
from cracks.images.decode import decode_to_size
from cracks.inference.bundle.bundle import open_bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.runtime.latency import time_single
from cracks.system.hashing import digest_of_file, digest_of_value
from cracks.training.features.compute import update_features
from cracks.training.networks.featurizer import store_featurizer
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths

#: Different images, and calls that a latency is the median of.
IMAGES, CALLS = 64, 60

#: What the random weights that stand in for trained ones are drawn from.
SEED = 2026

Found = Mapping[str, Any]


def single_image(_: Params, paths: Paths) -> Found:
    """Time the bundle: decoding, score and novelty of one photograph."""
    classifier = Classifier(open_bundle(paths.bundle))
    return _time_each(lambda content: classifier.measure([content]), _contents(paths))


def single_image_in_keras(params: Params, paths: Paths) -> Found:
    """Time Keras' `predict` of the whole classifier, on pixels that are decoded already."""
    from cracks.training.networks.keras_files import load_model

    model, size = load_model(paths.classifier), params.ingest.patch_size
    pixels = [decode_to_size(content, size)[np.newaxis] for content in _contents(paths)]
    return _time_each(lambda image: model.predict(image, verbose=0), pixels)


def random_weights(_: Params, paths: Paths) -> Found:
    """Write weights of a MobileNetV2 at 160 pixels that have learned nothing.

    Drawn so that numbers keep their size from layer to layer (He et al., "Delving Deep into
    Rectifiers", ICCV 2015, equation 10); those that Keras draws fade away to nothing.
    """
    import keras

    rng = np.random.default_rng(SEED)
    backbone = keras.applications.MobileNetV2((160, 160, 3), include_top=False, weights=None)
    for layer in backbone.layers:
        if "Conv2D" in type(layer).__name__:
            shape = layer.kernel.shape
            inputs = np.prod(shape[:2] if "Depthwise" in type(layer).__name__ else shape[:3])
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / inputs), shape))
    file = paths.root / "random.weights.h5"
    backbone.save_weights(file)
    return {"file": str(file)}


def store_network(params: Params, paths: Paths) -> Found:
    """Store the network of the stage `featurize`, and count the shards that there are for it."""
    shards = shard_files(paths.images)
    store_featurizer(params, shards, paths.featurizer)
    return {"shards": len(shards)}


def features(params: Params, paths: Paths, shards: str, folder: str) -> Found:
    """Time features with connecting, comparing versions and loading the network."""
    chosen = shard_files(paths.images)[: int(shards)]
    start = time.perf_counter()
    update_features(params, chosen, paths.featurizer, Path(folder), compute_features)
    seconds = time.perf_counter() - start
    arrays = [digest_of_file(file) for file in sorted(Path(folder).glob("*.npy"))]
    images = sum(map(count_rows, chosen))
    return {
        "images": images,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "digest": digest_of_value(arrays),
    }


TIMINGS: Mapping[str, Callable[..., Found]] = {
    "single-image": single_image,
    "single-image-in-keras": single_image_in_keras,
    "random-weights": random_weights,
    "store-network": store_network,
    "features": features,
}


def _time_each(call: Callable[[Any], Any], images: Sequence[Any]) -> Found:
    """Return how long a call takes for one image, another one each time."""
    one = cycle(images)
    return time_single(lambda: call(next(one)), CALLS)


def _contents(paths: Paths) -> list[bytes]:
    shard = shard_files(paths.images)[0]
    return read_contents(shard, list(range(min(IMAGES, count_rows(shard)))))


def main(what: str, *arguments: str) -> None:
    """Time what is called `what` in the current folder."""
    paths = Paths(Path.cwd())
    print(json.dumps(TIMINGS[what](load_params(paths.params), paths, *arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
