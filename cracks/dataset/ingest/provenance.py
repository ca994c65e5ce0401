"""Fill in where each patch of the manifest comes from, and report how that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.manifest import PROVENANCE, numbers_of, with_column
from cracks.dataset.photos.photo_sequences import LOOK, look_of
from cracks.dataset.photos.photo_table import PhotoRow
from cracks.dataset.photos.resolution import (
    WAYS,
    Provenance,
    SourceClues,
    find_provenance,
    mixed_photos,
)
from cracks.workspace.params import IngestParams
from cracks.workspace.stage_reports import PhotosReport


def with_provenance(
    manifest: pa.Table, said: Mapping[str, Mapping[str, PhotoRow]], params: IngestParams
) -> tuple[pa.Table, PhotosReport]:
    """Return the manifest with its columns of `PROVENANCE` filled in, and what was found.

    Args:
        manifest: of every source, one row a file.
        said: what every photos.csv says, by source and path.
        params: which clues count, what one photograph can hold, and what ends its run.
    """
    sources, paths = manifest["source"].to_numpy(), np.array(manifest["path"].to_pylist(), object)
    look = look_of(numbers_of(manifest, *LOOK))
    cameras, exposed = (
        np.array(manifest[name].to_pylist(), object) for name in ("camera", "exposed")
    )
    columns = {name: np.full(len(manifest), None, object) for name in PROVENANCE.names}
    doubted: dict[str, str] = {}
    for source in dict.fromkeys(sources.tolist()):
        of_source = np.flatnonzero(sources == source)
        clues = SourceClues(
            source,
            paths[of_source].tolist(),
            cameras[of_source].tolist(),
            exposed[of_source].tolist(),
            look[of_source],
            said.get(source, {}),
        )
        found = find_provenance(clues, params)
        _fill(columns, of_source, found)
        doubted |= {f"{source}: {photo}": why for photo, why in found.doubted.items()}
    for name, values in columns.items():
        manifest = with_column(manifest, name, values.tolist())
    return manifest, _report(columns, look, doubted)


def _fill(
    columns: Mapping[str, npt.NDArray[np.object_]], rows: npt.NDArray[np.int64], found: Provenance
) -> None:
    values: tuple[Sequence[Any], ...] = (found.photos, found.ways, found.sites, found.taken)
    for name, column in zip(PROVENANCE.names, values, strict=True):
        columns[name][rows] = np.array([value or None for value in column], np.object_)


def _report(
    columns: Mapping[str, npt.NDArray[np.object_]],
    look: npt.NDArray[np.float64],
    doubted: dict[str, str],
) -> PhotosReport:
    photos = [
        f"{site}: {photo}" if photo else ""
        for site, photo in zip(columns["site"], columns["photo"], strict=True)
    ]
    ways = Counter(way or "" for way in columns["photo_by"])
    known = len(photos) - ways[""]
    return {
        "photographs": len(set(photos) - {""}),
        "sites": len(set(columns["site"])),
        "photographs_known": round(known / max(len(photos), 1), 5),
        "known_by": {way or "unknown": ways[way] for way in WAYS},
        "doubted": doubted,
        "mixed": mixed_photos(look, photos),
    }
