"""Batch scoring on the cluster: a piece is a batch of files, in their order."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from cracks.cluster.file_pieces import (
    Named,
    loaded_classifier,
    pieces_of,
    sample_of,
    send_bundle,
)
from cracks.cluster.runner import results
from cracks.cluster.settings import ClusterSettings
from cracks.images.files import ImageFile, image_file
from cracks.inference.batch.predictions_file import SHARD_ROWS
from cracks.inference.batch.scoring import CHUNK, ScoredChunk, Unreadable, score_files
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.handover.champion import Champion
from cracks.storage.object_store import ObjectStore, open_store
from cracks.system.console import Advance
from cracks.system.hashing import digest_of_value

#: Results that stay in the store behind the one that is taken: so many may not be on disk yet.
BEHIND = 2 * SHARD_ROWS // CHUNK


@dataclass(frozen=True)
class FilePredictions:
    """Predict some files."""

    bundle: str  # the key of its folder
    champion: Champion
    files: Named

    def run(self, store: ObjectStore, threads: int) -> bytes:
        """Return the predictions, and what could not be read, as JSON."""
        classifier = loaded_classifier(store, self.bundle, threads)
        files = [image_file(name, stamp) for name, stamp in self.files]
        chunks = list(score_files(classifier, self.champion, files, lambda _: None))
        rows = [row for chunk in chunks for row in chunk.rows]
        unreadable = [asdict(one) for chunk in chunks for one in chunk.unreadable]
        said = json.dumps({"rows": rows, "unreadable": unreadable})
        return gzip.compress(said.encode(), compresslevel=1)


def score_on_cluster(
    settings: ClusterSettings,
    bundle: Bundle,
    champion: Champion,
    files: Sequence[ImageFile],
    missing: Sequence[ImageFile],
    advance: Advance,
) -> Iterator[ScoredChunk]:
    """Yield the predictions for the missing files, as `score_files` does, from the cluster.

    Results are removed from the store once they were taken and others after them.

    Raises:
        ClusterError: the cluster cannot do it, or pieces failed again and again; they are named.
        StorageError: the store cannot be used.
    """
    store = open_store(settings.store, retry=True)
    key = send_bundle(store, bundle)
    beginning = f"answers/{digest_of_value([key, champion.model_dump()])[:32]}/"
    pieces = pieces_of(
        files,
        missing,
        CHUNK,
        lambda part: FilePredictions(key, champion, part),
        lambda name: f"{beginning}{name}.json.gz",
    )
    found = results(settings, pieces, beginning, sample_of(missing), in_order=True, behind=BEHIND)
    for piece, content in found:
        said = json.loads(gzip.decompress(content))
        yield ScoredChunk(said["rows"], [Unreadable(**one) for one in said["unreadable"]])
        advance(piece.images)
