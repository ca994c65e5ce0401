"""`python -m benchmarks.model_timings`: time one thing in a workspace and print it as JSON.

Each runs in a process of its own, so that nothing else has warmed up or filled the memory for it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from cracks.dataset.shards import count_rows, read_contents, shard_files
from cracks.images.batches import decoded_batches
from cracks.images.decode import Pixels, decode_to_size
from cracks.inference.bundle.bundle import open_bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.bundle.novelty import load_novelty
from cracks.inference.runtime.latency import time_single
from cracks.inference.runtime.openvino_runtime import KERAS, Network, open_network
from cracks.training.features.arrays import features_file
from cracks.training.features.compute import features_of_shards
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths

#: Images before the clock counts, and calls that a latency is the median of.
WARM_UP, CALLS = 64, 60

#: Images that Keras gets at once, its own default and the notebooks'.
KERAS_BATCH = 32

#: What the random weights that stand in for trained ones are drawn from.
SEED = 2026

Found = dict[str, Any]


def featurize(params: Params, paths: Paths, shards: int) -> Found:
    """Time the loop of the stage `featurize` over the first shards; nothing is stored."""
    size, section = params.ingest.patch_size, params.featurize
    network, files = open_network(paths.featurizer, section.precision), shard_files(paths.images)
    for _ in network.stream(decoded_batches(_contents(paths, WARM_UP), size, section.batch_size)):
        pass
    start = time.perf_counter()
    loop = features_of_shards(network, files[:shards], size, section.batch_size, lambda _: None)
    images = sum(len(rows) for _, rows in loop)
    seconds = time.perf_counter() - start
    computes_in = network.computes_in if isinstance(network, Network) else "f32"
    return {"images": images, "images_per_s": images / seconds, "computes_in": computes_in}


def featurize_in_keras(params: Params, paths: Paths, images: int) -> Found:
    """Time Keras with the same half of the classifier, on pixels that are decoded already."""
    from cracks.training.networks.keras_files import load_model

    model, pixels = load_model(paths.featurizer / KERAS), _pixels(params, paths, images)
    return _many(lambda part: model.predict(part, batch_size=KERAS_BATCH, verbose=0), pixels)


def answer(params: Params, paths: Paths, images: int) -> Found:
    """Time the bundle: one image at a time, many at once, and what of it novelty takes."""
    del params  # a bundle knows all by itself
    classifier, contents = Classifier(open_bundle(paths.bundle)), _contents(paths, images)
    novelty, features = load_novelty(paths.novelty), _features(paths, images)
    found = _one(classifier.measure, contents) | _many(classifier.measure, contents)
    alone = _one(novelty.distance, features) | _many(novelty.distance, features)
    return {
        **found,
        "novelty_of_one": alone["median_ms"] / found["median_ms"],
        "novelty_of_many": found["images_per_s"] / alone["images_per_s"],
    }


def predict_in_keras(params: Params, paths: Paths, images: int) -> Found:
    """Time Keras' `predict` of the whole classifier, on pixels that are decoded already."""
    from cracks.training.networks.keras_files import load_model

    model, pixels = load_model(paths.classifier), _pixels(params, paths, images)

    def predict(part: Pixels) -> Any:
        return model.predict(part, batch_size=KERAS_BATCH, verbose=0)

    return _one(predict, pixels) | _many(predict, pixels)


def random_weights(params: Params, paths: Paths, size: int) -> Found:
    """Write weights of a MobileNetV2 of that image size that have learned nothing.

    Drawn so that numbers keep their size from layer to layer (He et al., "Delving Deep into
    Rectifiers", ICCV 2015, equation 10); those that Keras draws fade away to nothing.
    """
    import keras

    del params
    rng = np.random.default_rng(SEED)
    backbone = keras.applications.MobileNetV2((size, size, 3), include_top=False, weights=None)
    for layer in backbone.layers:
        if "Conv2D" in type(layer).__name__:
            shape = layer.kernel.shape
            inputs = np.prod(shape[:2] if "Depthwise" in type(layer).__name__ else shape[:3])
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / inputs), shape))
    file = paths.root / "random.weights.h5"
    backbone.save_weights(file)
    return {"file": str(file)}


TIMINGS: Mapping[str, Callable[[Params, Paths, int], Found]] = {
    "featurize": featurize,
    "featurize-in-keras": featurize_in_keras,
    "answer": answer,
    "answer-in-keras": predict_in_keras,
    "random-weights": random_weights,
}


def _one(call: Callable[[Any], Any], given: Any) -> Found:
    """Return how long a call takes for one image, another one each time."""
    positions = cycle(range(len(given)))

    def once() -> None:
        position = next(positions)
        call(given[position : position + 1])

    return dict(time_single(once, CALLS))


def _many(call: Callable[[Any], Any], given: Any) -> Found:
    """Return how many images a second a call takes when it gets all of them at once."""
    call(given[:WARM_UP])
    start = time.perf_counter()
    call(given)
    return {"images": len(given), "images_per_s": len(given) / (time.perf_counter() - start)}


def _contents(paths: Paths, images: int) -> list[bytes]:
    """Return the encoded images that lie first, so many or all there are."""
    contents: list[bytes] = []
    for shard in shard_files(paths.images):
        contents += read_contents(
            shard, list(range(min(images - len(contents), count_rows(shard))))
        )
    return contents


def _pixels(params: Params, paths: Paths, images: int) -> Pixels:
    size = params.ingest.patch_size
    return np.stack([decode_to_size(content, size) for content in _contents(paths, images)])


def _features(paths: Paths, images: int) -> Any:
    files = [features_file(paths.features, shard.name) for shard in shard_files(paths.images)]
    rows = [np.load(file, mmap_mode="r", allow_pickle=False)[:images] for file in files]
    return np.concatenate(rows)[:images]


def main(name: str, number: str) -> None:
    """Time what is called `name`, in the current folder, with so many shards or images."""
    paths = Paths(Path.cwd())
    print(json.dumps(TIMINGS[name](load_params(paths.params), paths, int(number))))


if __name__ == "__main__":
    main(*sys.argv[1:])
