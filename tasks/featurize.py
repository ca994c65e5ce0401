"""featurize: compute the input of the trainable part once for every patch, shard by shard."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from cracks.digests import digest_of_file
from cracks.features import compute_features, features_file
from cracks.model.architectures import NAMED_WEIGHTS, build_featurizer
from cracks.model.storage import convert_model, save_model
from cracks.outputs import replacing
from cracks.params import Params
from cracks.paths import Paths
from cracks.progress import progress
from cracks.reports import Report
from cracks.runtime import Network
from cracks.shards import count_rows, iterate_contents


def featurize(params: Params, paths: Paths) -> Report:
    """Run the frozen half of the network over all shards, in OpenVINO.

    Raises:
        WeightsError: `featurize.weights` is missing, damaged, or of another architecture.
    """
    size, weights = params.ingest.patch_size, params.featurize.weights
    featurizer = build_featurizer(params.featurize, size)
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        convert_model(featurizer, Path(folder) / "featurizer.xml")
        network = Network(Path(folder) / "featurizer.xml")
    batch_size, total = params.featurize.batch_size, count_rows(paths.images)
    with (
        replacing(paths.features) as features,
        progress(total, "computing features", "images") as advance,
    ):
        features.mkdir()
        for shard, contents in iterate_contents(paths.images):
            rows = compute_features(network, contents, size, batch_size, advance)
            np.save(features_file(features, shard), rows, allow_pickle=False)
    save_model(featurizer, paths.featurizer)
    return {
        "architecture": params.featurize.architecture,
        "weights": weights,
        "weights_sha256": None
        if weights in NAMED_WEIGHTS
        else digest_of_file(Path(weights).expanduser()),
        "patches": total,
        "feature_shape": list(rows.shape[1:]),
    }
