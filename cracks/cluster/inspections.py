"""Inspection of photographs on the cluster: a piece is a few of them, its result their folders."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.handover.champion import Champion
from cracks.inference.photos.inspection_folder import PHOTOS, InspectionFolder
from cracks.inference.photos.many_photos import inspect_photos
from cracks.storage.object_store import ObjectStore, open_store
from cracks.system.atomic_files import atomic_replace
from cracks.system.console import Advance
from cracks.system.hashing import digest_of_value

#: Photographs of a piece: of 12 megapixels each, some seconds.
PHOTOGRAPHS = 8

#: What could not be inspected, in the archive beside the folders.
UNREADABLE = "unreadable.json"


@dataclass(frozen=True)
class InspectionsOfPhotos:
    """Inspect some photographs."""

    bundle: str  # the key of its folder
    champion: Champion
    files: Named
    overlap: float
    mm_per_px: float | None

    def run(self, store: ObjectStore, threads: int) -> bytes:
        """Return the folders of the photographs as a .zip."""
        classifier = loaded_classifier(store, self.bundle, threads)
        files = [image_file(name, stamp) for name, stamp in self.files]
        with tempfile.TemporaryDirectory(prefix="cracks-inspect-") as place:
            folder = InspectionFolder(Path(place), self.champion, self.overlap, self.mm_per_px)
            unreadable = list(inspect_photos(classifier, folder, files, lambda _: None))
            return _packed(Path(place, PHOTOS), unreadable)


def inspect_on_cluster(
    settings: ClusterSettings,
    bundle: Bundle,
    folder: InspectionFolder,
    files: Sequence[ImageFile],
    missing: Sequence[ImageFile],
    advance: Advance,
) -> Iterator[dict[str, str]]:
    """Inspect the missing photographs into a folder, as `inspect_photos` does, on the cluster.

    Yields:
        `file` and `reason` of each that cannot be read.

    Raises:
        ClusterError: the cluster cannot do it, or pieces failed again and again; they are named.
        StorageError: the store cannot be used.
    """
    store = open_store(settings.store, retry=True)
    key, champion = send_bundle(store, bundle), folder.champion
    origin = [key, champion.model_dump(), folder.overlap, folder.mm_per_px]
    beginning = f"inspections/{digest_of_value(origin)[:32]}/"
    pieces = pieces_of(
        files,
        missing,
        PHOTOGRAPHS,
        lambda part: InspectionsOfPhotos(key, champion, part, folder.overlap, folder.mm_per_px),
        lambda name: f"{beginning}{name}.zip",
    )
    # What was unpacked is on this disk.
    found = results(settings, pieces, beginning, sample_of(missing), in_order=True, behind=0)
    for piece, content in found:
        yield from _unpacked(content, folder.place / PHOTOS)
        advance(piece.images)


def _packed(photos: Path, unreadable: Sequence[dict[str, str]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in sorted(path for path in photos.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(photos))
        archive.writestr(UNREADABLE, json.dumps(unreadable))
    return content.getvalue()


def _unpacked(content: bytes, photos: Path) -> list[dict[str, str]]:
    """Write the folders in an archive, each whole or not at all; return what was unreadable."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members: dict[str, list[str]] = {}
        for name in archive.namelist():
            if name != UNREADABLE:
                members.setdefault(PurePosixPath(name).parts[0], []).append(name)
        for folder, names in members.items():
            with atomic_replace(photos / folder) as partial:
                partial.mkdir()
                for name in names:
                    (partial / PurePosixPath(name).name).write_bytes(archive.read(name))
        unreadable: list[dict[str, str]] = json.loads(archive.read(UNREADABLE))
    return unreadable
