"""Say of every patch which photograph it was cut from, by the best clue that there is.

The clues, in this order: photos.csv, a folder, the name, the camera's own time (EXIF), and a
sequence of numbers in which the look of each photograph can be seen. A patch without any of them
has no photograph.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from cracks.dataset.manifest import UNCERTAIN
from cracks.dataset.photos.path_clues import FOLDER, NAME, path_clues
from cracks.dataset.photos.photo_sequences import Look, find_runs
from cracks.dataset.photos.photo_table import PhotoRow
from cracks.workspace.params import IngestParams

#: How a photograph was known, in the order in which the clues are asked; "" where it is not.
TABLE, EXIF, SEQUENCE, UNKNOWN = "table", "EXIF", "sequence", ""
WAYS = (TABLE, FOLDER, NAME, EXIF, SEQUENCE, UNCERTAIN, UNKNOWN)

#: Of how many photographs, with how many patches each, the usual spread of look is taken; and how
#: many times that spread makes one look like several.
LEAST_PHOTOS, LEAST_PATCHES, MIXED = 10, 4, 4.0


@dataclass(frozen=True)
class SourceClues:
    """What one source tells of its n files, each in the order of the manifest."""

    name: str
    paths: Sequence[str]
    cameras: Sequence[str]  # of EXIF; "" where it names none
    taken: Sequence[datetime | None]  # of EXIF
    look: Look  # (n, 5)
    table: Mapping[str, PhotoRow]  # photos.csv, by path


@dataclass
class Provenance:
    """The photograph of each patch, how it was known, its site, and when it was taken."""

    photos: list[str]  # "" where nothing tells
    ways: list[str]  # of WAYS
    sites: list[str]
    taken: list[datetime | None]
    #: What looked like one photograph and is none, and why.
    doubted: dict[str, str] = field(default_factory=dict)

    def known(self) -> npt.NDArray[np.bool_]:
        """Return of which patches the photograph is known, (n,)."""
        return np.array([bool(photo) for photo in self.photos], bool)

    def forget(self) -> None:
        """Take every photograph for unknown."""
        self.photos[:] = self.ways[:] = [UNKNOWN] * len(self.photos)
        self.doubted.clear()


def find_provenance(clues: SourceClues, params: IngestParams) -> Provenance:
    """Return where the patches of one source come from.

    Args:
        clues: what the source tells.
        params: which clues count, patches that one photograph can hold, and the least change of
            look that ends the run of one photograph.
    """
    most = params.max_photo_patches
    paths = path_clues(clues.paths, most)
    sites = [site or clues.name for site in paths.sites]
    found = Provenance(paths.photos, paths.ways, sites, list(clues.taken))
    for photo, count in paths.doubted.items():
        found.doubted[photo] = f"{count:,} patches, more than the {most:,} of one photograph"
    _ask_exif(found, clues, most)
    _ask_sequences(found, clues, params.run_change)
    if params.photo == "table":
        found.forget()
    _ask_table(found, clues)
    return found


def mixed_photos(look: Look, photos: Sequence[str]) -> dict[str, float]:
    """Return the photographs whose patches differ far more than those of the others do.

    Args:
        look: (n, 5).
        photos: (n,) of each patch; "" where it is not known.

    Returns:
        How many times the median spread of a photograph they have.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, photo in enumerate(photos):
        if photo:
            members[photo].append(i)
    spreads = {
        photo: _spread(look[positions])
        for photo, positions in members.items()
        if len(positions) >= LEAST_PATCHES
    }
    if len(spreads) < LEAST_PHOTOS or not (usual := float(np.median(list(spreads.values())))):
        return {}
    return {
        photo: round(spread / usual, 1)
        for photo, spread in spreads.items()
        if spread > MIXED * usual
    }


def _spread(look: Look) -> float:
    return float(np.median(np.linalg.norm(look - np.median(look, axis=0), axis=1)))


def _ask_exif(found: Provenance, clues: SourceClues, most: int) -> None:
    moments = [
        f"{camera} {time.isoformat()}".strip() if time else ""
        for camera, time in zip(clues.cameras, clues.taken, strict=True)
    ]
    moments_of: dict[str, set[str]] = defaultdict(set)
    for photo, moment in zip(found.photos, moments, strict=True):
        if photo and moment:
            moments_of[photo].add(moment)
    for photo, several in moments_of.items():
        if len(several) > 1:
            found.doubted[photo] = f"its patches were taken at {len(several):,} different times"
    sizes = Counter(moments)
    for moment, count in sizes.items():
        if moment and count > most:
            found.doubted[moment] = f"{count:,} patches, more than the {most:,} of one photograph"
    for i, (photo, moment) in enumerate(zip(found.photos, moments, strict=True)):
        if len(moments_of.get(photo, ())) > 1:
            if found.ways[i] == FOLDER:  # then it holds several photographs, as those of a site
                found.sites[i] = photo
            found.photos[i] = found.ways[i] = ""
        if not found.photos[i] and moment and sizes[moment] <= most:
            found.photos[i], found.ways[i] = moment, EXIF


def _ask_sequences(found: Provenance, clues: SourceClues, change: float) -> None:
    unknown = np.flatnonzero(~found.known()).tolist()
    runs = find_runs([clues.paths[i] for i in unknown], clues.look[unknown], change)
    numbers = runs.numbers.tolist()
    sizes = Counter(numbers)
    for i, run, at_end in zip(unknown, numbers, runs.at_end, strict=True):
        if sizes[run] > 1:
            first = PurePosixPath(clues.paths[unknown[run]])
            found.photos[i] = f"{first.with_suffix('')}…"
            found.ways[i] = UNCERTAIN if at_end else SEQUENCE


def _ask_table(found: Provenance, clues: SourceClues) -> None:
    for i, path in enumerate(clues.paths):
        if row := clues.table.get(path):
            found.photos[i], found.ways[i] = row.photo, TABLE
            found.sites[i] = row.site or found.sites[i]
            found.taken[i] = row.taken or found.taken[i]
