"""Batch scoring on the cluster: a piece is as many files as are scored together, in their order."""

from __future__ import annotations

import gzip
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from cracks.batch_scoring.scoring import CHUNK, ScoredChunk, Unreadable, score_files
from cracks.batch_scoring.store import SHARD_ROWS
from cracks.bundle import Bundle, open_bundle
from cracks.classifier import Classifier
from cracks.cluster.pieces import Outcome, Piece, require_no_failure
from cracks.cluster.running import outcomes
from cracks.cluster.store import PatientStore, Store, open_store, read_result, send_files
from cracks.cluster.worker import fetched_folder, once
from cracks.cluster_settings import ClusterSettings
from cracks.digests import digest_of_value
from cracks.handover import Champion
from cracks.image_files import ImageFile, image_file
from cracks.progress import Advance

#: Names and stamps of files, as they are sent to a worker.
Named = tuple[tuple[str, str], ...]

#: Results that stay in the store behind the one that is taken: so many may not be on disk yet.
BEHIND = 2 * SHARD_ROWS // CHUNK


@dataclass(frozen=True)
class AnswersForFiles:
    """Answer for some files."""

    bundle: str  # the key of its folder
    champion: Champion
    files: Named

    def run(self, store: Store, threads: int) -> bytes:
        """Return the answers, and what could not be read, as JSON."""
        classifier = loaded_classifier(store, self.bundle, threads)
        files = [image_file(name, stamp) for name, stamp in self.files]
        chunks = list(score_files(classifier, self.champion, files, lambda _: None))
        rows = [row for chunk in chunks for row in chunk.rows]
        unreadable = [asdict(one) for chunk in chunks for one in chunk.unreadable]
        said = json.dumps({"rows": rows, "unreadable": unreadable})
        return gzip.compress(said.encode(), compresslevel=1)


def loaded_classifier(store: Store, bundle: str, threads: int) -> Classifier:
    """Return the classifier of a bundle in the store, loaded once a process."""
    return once(
        ("classifier", bundle),
        lambda: Classifier(open_bundle(fetched_folder(store, bundle)), threads),
    )


def send_bundle(store: Store, bundle: Bundle) -> str:
    """Send a bundle unless it is there; return the key of its folder."""
    return send_files(store, sorted(file for file in bundle.folder.iterdir() if file.is_file()))


def named(files: Iterable[ImageFile]) -> Named:
    """Return what a worker needs to know of files."""
    return tuple((file.name, file.stamp) for file in files)


def sample_of(files: Sequence[ImageFile]) -> str | None:
    """Return the name of a file that is there, by which workers can be tried."""
    return next((file.name for file in files if file.stamp != "gone"), None)


def score_on_cluster(
    settings: ClusterSettings,
    bundle: Bundle,
    champion: Champion,
    files: Sequence[ImageFile],
    missing: Sequence[ImageFile],
    advance: Advance,
) -> Iterator[ScoredChunk]:
    """Yield the answers for the missing files, as `score_files` does, from the cluster.

    They are cut where all the files would be, so that what a stopped run has left in the store fits
    the next one. Results are removed there once they were taken and others after them.

    Raises:
        ClusterError: the cluster cannot do it, or pieces failed again and again; they are named.
        SourceError: the store cannot be used.
    """
    store = PatientStore(open_store(settings.store))
    key = send_bundle(store, bundle)
    wanted = {file.name for file in missing}
    beginning = f"answers/{digest_of_value([key, champion.model_dump()])[:32]}/"

    def pieces() -> Iterator[Piece]:
        number = 0
        for start in range(0, len(files), CHUNK):
            part = [file for file in files[start : start + CHUNK] if file.name in wanted]
            if part:
                work = AnswersForFiles(key, champion, named(part))
                result = f"{beginning}{digest_of_value(work.files)[:32]}.json.gz"
                yield Piece(number, name_of(part), result, len(part), work)
                number += 1

    failures: list[Outcome] = []
    taken: deque[str] = deque()
    total = 0
    for outcome in in_order(outcomes(settings, pieces(), beginning, sample_of(missing))):
        total += 1
        if outcome.failure:
            failures.append(outcome)
            continue
        said = json.loads(gzip.decompress(read_result(store, outcome.piece.key)))
        yield ScoredChunk(said["rows"], [Unreadable(**one) for one in said["unreadable"]])
        advance(outcome.piece.images)
        taken.append(outcome.piece.key)
        if len(taken) > BEHIND:
            store.remove(taken.popleft())
    for result in taken:
        store.remove(result)
    require_no_failure(failures, total)


def in_order(found: Iterable[Outcome]) -> Iterator[Outcome]:
    """Yield outcomes by the numbers of their pieces; what is early waits, without its result."""
    early: dict[int, Outcome] = {}
    number = 0
    for outcome in found:
        early[outcome.piece.number] = outcome
        while number in early:
            yield early.pop(number)
            number += 1


def name_of(files: Sequence[ImageFile]) -> str:
    """Return what to call a piece: its first and its last file."""
    first, last = files[0].name, files[-1].name
    return first if first == last else f"{first} … {last}"
