"""Inspect many photographs one after the other; one that cannot be read does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cracks.errors import UnreadableImage
from cracks.images.decode import Pixels, decode_upright
from cracks.images.files import ImageFile, content_of, prefetched
from cracks.inference.handover.prediction_id import PredictionId, prediction_id
from cracks.inference.photos.inspection import Measures, inspect_photo
from cracks.inference.photos.inspection_folder import InspectionFolder
from cracks.system.console import Advance
from cracks.system.hashing import digest_of_bytes
from cracks.system.parallel import prefetch_map

#: Pixels of the largest photograph; any more is a decompression bomb or a map.
MAX_PHOTO_PIXELS = 100_000_000

#: Photographs in memory: the one that is inspected, and the next one.
AT_A_TIME = 2


@dataclass(frozen=True)
class _Decoded:
    file: ImageFile
    pixels: Pixels
    id_: PredictionId


def inspect_photos(
    classifier: Measures,
    folder: InspectionFolder,
    files: Iterable[ImageFile],
    advance: Advance,
) -> Iterator[dict[str, str]]:
    """Inspect photographs into a folder; yield `file` and `reason` of each that cannot be read.

    Raises:
        StorageUnavailable: the storage stopped responding.
    """

    def decoded(file: ImageFile) -> _Decoded | dict[str, str]:
        try:
            content = content_of(file)
            pixels = decode_upright(content, MAX_PHOTO_PIXELS)
        except UnreadableImage as error:
            return {"file": file.name, "reason": str(error)}
        sha256 = digest_of_bytes(content)
        return _Decoded(file, pixels, prediction_id(folder.champion, sha256, datetime.now(UTC)))

    for photo in prefetch_map(decoded, prefetched(files), waiting=AT_A_TIME):
        if isinstance(photo, _Decoded):
            _inspect(classifier, folder, photo)
        else:
            yield photo
        advance(1)


def _inspect(classifier: Measures, folder: InspectionFolder, photo: _Decoded) -> None:
    begin = time.perf_counter()
    inspection = inspect_photo(classifier, photo.pixels, folder.overlap, folder.mm_per_px)
    said = {
        "prediction_id": str(photo.id_),
        "model_version": folder.champion.version,
        "run_id": folder.champion.run_id,
        "seconds": round(time.perf_counter() - begin, 3),
    }
    folder.write(photo.file, photo.pixels, inspection, said)
