"""Read, decode and score a stream of files; a file that cannot be read does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np

from cracks.errors import UnreadableImage
from cracks.images.decode import Pixels, decode_to_size
from cracks.images.files import ImageFile, content_of, prefetched
from cracks.inference.bundle.classifier import BATCH_SIZE, Classifier, Prediction
from cracks.inference.handover.champion import Champion
from cracks.inference.handover.prediction_id import prediction_id
from cracks.system.console import Advance
from cracks.system.hashing import digest_of_bytes
from cracks.system.parallel import prefetch_map

#: Images whose novelty is measured together: of a few it costs as much as their scores.
CHUNK = 1024

Item = TypeVar("Item")


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class ScoredChunk:
    """The results for some files: rows of `predictions_file.SCHEMA`, and the unreadable files."""

    rows: list[dict[str, Any]]
    unreadable: list[Unreadable]


@dataclass(frozen=True)
class _Decoded:
    file: ImageFile
    sha256: str
    pixels: Pixels


def score_files(
    classifier: Classifier, champion: Champion, files: Iterable[ImageFile], advance: Advance
) -> Iterator[ScoredChunk]:
    """Yield the predictions for files chunk by chunk, in order.

    Reading and decoding overlap with the network; one chunk's predictions and a few decoded
    batches are in memory, whatever the number of files.

    Args:
        classifier: the model.
        champion: which version that is, for the prediction ids.
        files: images of any size, resampled to the size of a patch where it is another.
        advance: called with the number of files that are done.

    Raises:
        StorageUnavailable: the storage stopped responding.
    """
    size = classifier.bundle.content.patch_size

    def decoded(group: Sequence[ImageFile]) -> list[_Decoded | Unreadable]:
        return [_decoded(file, size) for file in group]

    groups = prefetch_map(decoded, _groups(prefetched(files), BATCH_SIZE))
    while first := next(groups, None):
        chunk = chain([first], islice(groups, CHUNK // BATCH_SIZE - 1))
        yield _scored(classifier, champion, chunk, advance)


def _groups(items: Iterable[Item], count: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while group := list(islice(iterator, count)):
        yield group


def _decoded(file: ImageFile, size: int) -> _Decoded | Unreadable:
    try:
        content = content_of(file)
        return _Decoded(file, digest_of_bytes(content), decode_to_size(content, size))
    except UnreadableImage as error:
        return Unreadable(file.name, str(error))


def _scored(
    classifier: Classifier,
    champion: Champion,
    groups: Iterable[list[_Decoded | Unreadable]],
    advance: Advance,
) -> ScoredChunk:
    known: list[tuple[ImageFile, str]] = []
    unreadable: list[Unreadable] = []

    def batches() -> Iterator[Pixels]:
        for group in groups:
            readable = [one for one in group if isinstance(one, _Decoded)]
            unreadable.extend(one for one in group if isinstance(one, Unreadable))
            known.extend((one.file, one.sha256) for one in readable)
            if readable:
                yield np.stack([one.pixels for one in readable])
            advance(len(group))

    predictions = classifier.predictions_from(classifier.measure_pixels(batches()))
    now = datetime.now(UTC)
    rows = [
        _row(file, sha256, prediction, champion, now)
        for (file, sha256), prediction in zip(known, predictions, strict=True)
    ]
    return ScoredChunk(rows, unreadable)


def _row(
    file: ImageFile, sha256: str, prediction: Prediction, champion: Champion, now: datetime
) -> dict[str, Any]:
    return {
        "file": file.name,
        "label": prediction.label,
        "score": prediction.score,
        "threshold": prediction.threshold,
        "novelty": prediction.novelty,
        "novel": prediction.novel,
        "model_version": champion.version,
        "run_id": champion.run_id,
        "prediction_id": str(prediction_id(champion, sha256, now)),
        "image_sha256": sha256,
        "stamp": file.stamp,
    }
