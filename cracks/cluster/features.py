"""Features on the cluster: a piece is a shard, a result its array."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cracks.cluster.pieces import Piece
from cracks.cluster.result_store import send_files
from cracks.cluster.runner import results
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
from cracks.workspace.params import Params


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
    params: Params,
    shards: Sequence[Path],
    featurizer: Path,
    features: FeatureStore,
    advance: Advance,
) -> None:
    """Compute the features of shards on the cluster, and store them here as the local run does.

    A shard that is not in the store yet is sent, once and for all; what `dvc push` sent is there.

    Args:
        settings: where the cluster is.
        params: the network's input and arithmetic.
        shards: on this machine, those without features.
        featurizer: folder of the half that computes them.
        features: their store on this machine.
        advance: called with the number of images that are done.

    Raises:
        ClusterError: the cluster cannot do it, or shards failed again and again; they are named.
        StorageError: the store cannot be used.
    """
    precision, size = params.featurize.precision, params.ingest.patch_size
    batch_size = params.featurize.batch_size
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

    for piece, content in results(settings, pieces(), beginning):
        features.put(shards[piece.number], np.load(io.BytesIO(content), allow_pickle=False))
        advance(piece.images)
