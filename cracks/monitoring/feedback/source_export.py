"""Make a source of photographs of predicted images that people have labelled.

    FOLDER/Positive/1f0a2b3c….jpg   cracked; the name is the SHA-256 of the bytes
    FOLDER/Negative/…
    FOLDER/feedback.csv             of each image: who said so, and what had been predicted

Only a person's command does this: what is learned from decides what is predicted. Images that the
data has already, or a near-copy of them, are left out, since they would only repeat themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cracks.dataset.fingerprints import BLOCK, Fingerprints, nearest
from cracks.dataset.labels import CRACK
from cracks.dataset.manifest import fingerprints_of
from cracks.dataset.patch_facts import inspect_patch
from cracks.errors import FeedbackError, UnreadableImage
from cracks.monitoring.feedback.record import Entry, FeedbackRecord
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.system.atomic_files import atomic_replace
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table, write_csv

#: The folders of the labels, as every source names them.
FOLDERS = {True: "Positive", False: "Negative"}

LIST = "feedback.csv"

#: Why an image is left out.
WHOLE, CONTRADICTED, NOT_FOUND, UNUSABLE, KNOWN, NEAR = (
    "whole photographs: only patches can be learned from",
    "with different labels for the same image",
    "not found: the service keeps no images, or they are not among the originals",
    "no patch of this data's size, or unreadable",
    "in the data already",
    "near-copies of what is in the data already",
)


@dataclass(frozen=True)
class ExportedSource:
    """What was written."""

    folder: Path
    cracked: int
    clean: int
    left_out: Mapping[str, int]

    def as_document(self) -> dict[str, Any]:
        """Return this as JSON values."""
        return asdict(self) | {"folder": str(self.folder), "left_out": dict(self.left_out)}


def export_as_source(paths: Paths, folder: Path, originals: Path | None) -> ExportedSource:
    """Write the labelled images that the data does not have yet, whole or not at all.

    Args:
        paths: of the workspace, whose data they are to be added to.
        folder: a new one, or one that an earlier export wrote, which is replaced.
        originals: a folder with the images that were sent; None where the record keeps them.

    Raises:
        FeedbackError: the folder holds other things, or nothing is left to export.
        OSError, StorageError: a record cannot be read.
    """
    if folder.exists() and not (folder / LIST).is_file():
        raise FeedbackError(f"{folder} holds other things. Name a folder that does not exist yet.")
    params = load_params(paths.params)
    left_out: Counter[str] = Counter()
    entries = _wanted(FeedbackRecord.beside(paths.service).everything(), left_out)
    contents = _contents(entries, paths.service, originals)
    left_out[NOT_FOUND] = len(entries) - len(contents)
    kept, prints = _usable(contents, params.ingest.patch_size, left_out)
    chosen = _new_ones(kept, prints, paths, params.split.near_copy_distance, left_out)
    if not chosen:
        said = "; ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
        raise FeedbackError(f"There is nothing to export. {said or 'Nobody gave a label yet'}.")
    with atomic_replace(folder) as partial:
        partial.mkdir()
        for image in chosen:
            is_crack = entries[image].label == CRACK
            place = partial / FOLDERS[is_crack] / f"{image}{_suffix(contents[image])}"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(contents[image])
        columns = ("image_sha256", "label", "by", "note", "answered", "score", "prediction_id")
        rows = [{name: getattr(entries[image], name) for name in columns} for image in chosen]
        write_csv(rows, partial / LIST, columns)
    cracked = sum(entries[image].label == CRACK for image in chosen)
    return ExportedSource(folder, cracked, len(chosen) - cracked, left_out)


def _wanted(entries: Sequence[Entry], left_out: Counter[str]) -> dict[str, Entry]:
    """Return one entry an image, by its SHA-256; those that contradict each other are left out."""
    by_image: dict[str, Entry] = {}
    contradicted = set()
    for entry in entries:
        if entry.kind != "predict":
            left_out[WHOLE] += 1
            continue
        earlier = by_image.setdefault(entry.image_sha256, entry)
        if earlier.label != entry.label:
            contradicted.add(entry.image_sha256)
    left_out[CONTRADICTED] = len(contradicted)
    return {image: by_image[image] for image in sorted(by_image) if image not in contradicted}


def _contents(
    entries: Mapping[str, Entry], service: Path, originals: Path | None
) -> dict[str, bytes]:
    """Return the images that can be found, by SHA-256."""
    if originals is not None:
        found = dict(_among(originals, set(entries)))
    else:
        record = PredictionLog.of(service)
        predictions = {image: record.find(one.prediction_id) for image, one in entries.items()}
        found = {image: one.image for image, one in predictions.items() if one and one.image}
    return {image: found[image] for image in sorted(found)}


def _among(originals: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    if not originals.is_dir():
        raise FeedbackError(f"There is no folder {originals} with the images that were sent.")
    for file in sorted(originals.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            if (digest := digest_of_bytes(content)) in wanted:
                yield digest, content


def _usable(
    contents: Mapping[str, bytes], size: int, left_out: Counter[str]
) -> tuple[list[str], Fingerprints]:
    """Return the images that ingest would take, and their fingerprints."""
    kept, prints = [], [np.zeros((0, BLOCK * BLOCK), np.int16)]
    for image, content in contents.items():
        try:
            facts = inspect_patch(content, size)
        except UnreadableImage:
            left_out[UNUSABLE] += 1
            continue
        kept.append(image)
        prints.append(np.frombuffer(facts.fingerprint, np.int16)[None])
    return kept, np.concatenate(prints)


def _new_ones(
    images: Sequence[str],
    prints: Fingerprints,
    paths: Paths,
    distance: float,
    left_out: Counter[str],
) -> list[str]:
    """Return the images that the data has neither as they are nor as a near-copy."""
    if not images or not paths.manifest.is_file():
        return list(images)
    manifest = read_table(paths.manifest, ["id", "fingerprint"])
    known = set(manifest["id"].to_pylist())
    together = np.concatenate([prints, fingerprints_of(manifest)])
    asked, others = np.arange(len(images)), np.arange(len(images), len(together))
    near = nearest(together, asked, others).distances <= distance
    chosen = []
    for image, is_near in zip(images, near.tolist(), strict=True):
        if image in known:
            left_out[KNOWN] += 1
        elif is_near:
            left_out[NEAR] += 1
        else:
            chosen.append(image)
    return chosen


def _suffix(content: bytes) -> str:
    return ".png" if content.startswith(b"\x89PNG") else ".jpg"
