"""featurize: compute the input of the trainable part once for every patch, shard by shard."""

from __future__ import annotations

from cracks.cluster.dispatch import compute_features
from cracks.dataset.shards import count_rows, shard_files
from cracks.training.features.compute import update_features
from cracks.training.networks.featurizer import store_featurizer
from cracks.training.networks.weights import digest_of_weights
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import FeaturizeReport


def featurize(params: Params, paths: Paths) -> FeaturizeReport:
    """Run the half that is computed once over the shards that it has not seen yet.

    Raises:
        WeightsError: `featurize.weights` is missing, damaged, or of another architecture.
        BundleError: OpenVINO's numbers are not those of Keras.
    """
    section, shards = params.featurize, shard_files(paths.images)
    stored = store_featurizer(params, shards, paths.featurizer)
    update_features(params, shards, paths.featurizer, paths.features, compute_features)
    return {
        "architecture": section.architecture,
        "mode": params.mode,
        "weights": section.weights,
        "weights_sha256": digest_of_weights(section.weights),
        "precision": section.precision,
        "patches": count_rows(paths.images),
        "feature_shape": list(stored.feature_shape),
        "agreement_with_keras": stored.agreement,
    }
