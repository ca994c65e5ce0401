"""Features on the cluster: a piece is a shard, a result its array."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cracks.cluster.pieces import Outcome, Piece, require_no_failure
from cracks.cluster.result_store import read_result, send_files
from cracks.cluster.runner import outcomes
from cracks.cluster.settings import ClusterSettings
from cracks.cluster.versions import library_versions, own_versions
from cracks.cluster.worker import fetched_folder, once
from cracks.dataset.shards import contents_in, count_rows
from cracks.inference.runtime.openvino_runtime import NETWORK, Network
from cracks.storage.object_store import ObjectStore, open_store
from cracks.system.console import Advance
from cracks.system.hashing import digest_of_value, md5_of_file
from cracks.training.features.compute import features_of
from cracks.training.features.store import FeatureStore


@dataclass(frozen=True)
class FeaturesOfShard:
    """Compute the features of one shard."""

    network: str  # the key of its folder
    precision: str
    shard: str  # its key
    name: str
    size: int
    batch_size: int

    def run(self, store: ObjectStore, threads: int) -> bytes:
        """Return the array as a .npy file."""
        network = once(
            ("network", self.network, self.precision),
            lambda: Network(fetched_folder(store, self.network) / NETWORK, self.precision, threads),
        )
        contents = contents_in(store.read(self.shard), self.name)
        rows = features_of(network, contents, self.size, self.batch_size, self.name)
        file = io.BytesIO()
        np.save(file, rows, allow_pickle=False)
        return file.getvalue()


def store_features_on_cluster(
    settings: ClusterSettings,
    shards: Sequence[Path],
    featurizer: Path,
    features: FeatureStore,
    advance: Advance,
    *,
    precision: str,
    size: int,
    batch_size: int,
) -> None:
    """Compute the features of shards on the cluster, and store them here as the local run does.

    A shard that is not in the store yet is sent, once and for all; what `dvc push` sent is there.

    Args:
        settings: where the cluster is.
        shards: on this machine, those without features.
        featurizer: folder of the half that computes them.
        features: their store on this machine.
        advance: called with the number of images that are done.
        precision: that is computed in.
        size: pixels of the patches' width and height.
        batch_size: patches that the network gets at once.

    Raises:
        ClusterError: the cluster cannot do it, or shards failed again and again; they are named.
        StorageError: the store cannot be used.
    """
    store = open_store(settings.store, retry=True)
    network = send_files(store, [featurizer / NETWORK, (featurizer / NETWORK).with_suffix(".bin")])
    origin = [network, precision, size, batch_size, dict(library_versions(own_versions()))]
    beginning = f"features/{digest_of_value(origin)[:32]}/"

    def pieces() -> Iterator[Piece]:
        for number, shard in enumerate(shards):
            digest = md5_of_file(shard)
            key, result = f"files/md5/{digest[:2]}/{digest[2:]}", f"{beginning}{digest}.npy"
            if not store.has(key) and not store.has(result):
                store.write(key, shard.read_bytes())
            work = FeaturesOfShard(network, precision, key, shard.name, size, batch_size)
            yield Piece(number, shard.name, result, count_rows(shard), work)

    failures: list[Outcome] = []
    for outcome in outcomes(settings, pieces(), beginning):
        if outcome.failure:
            failures.append(outcome)
            continue
        content = io.BytesIO(read_result(store, outcome.piece.key))
        features.put(shards[outcome.piece.number], np.load(content, allow_pickle=False))
        advance(outcome.piece.images)
    require_no_failure(sorted(failures, key=lambda one: one.piece.number), len(shards))
