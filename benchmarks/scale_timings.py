"""`python -m benchmarks.scale_timings`: time what is measured of a cluster; print it as JSON.

    prepare                 store the network that features are computed with
    featurize SHARDS DIR    compute the features of the first shards into DIR, here or, where
                            DASK_SCHEDULER_ADDRESS says so, on the cluster

The time is that of the work with connecting, comparing versions and loading the network, without
the start of Python.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from cracks.cluster.dispatch import compute_features
from cracks.dataset.shards import count_rows, shard_files
from cracks.system.hashing import digest_of_file, digest_of_value
from cracks.training.features.compute import update_features
from cracks.training.networks.featurizer import store_featurizer
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths


def main(what: str, *arguments: str) -> None:
    """Do what is asked for in the workspace that is the current folder."""
    paths = Paths(Path.cwd())
    params = load_params(paths.params)
    shards = shard_files(paths.images)
    if what == "prepare":
        store_featurizer(params, shards, paths.featurizer)
        print(json.dumps({"shards": len(shards)}))
        return
    chosen, folder = shards[: int(arguments[0])], Path(arguments[1])
    start = time.perf_counter()
    update_features(params, chosen, paths.featurizer, folder, compute_features)
    seconds = time.perf_counter() - start
    arrays = [digest_of_file(file) for file in sorted(folder.glob("*.npy"))]
    images = sum(map(count_rows, chosen))
    found = {"images": images, "seconds": seconds, "images_per_s": images / seconds}
    print(json.dumps({**found, "digest": digest_of_value(arrays)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
