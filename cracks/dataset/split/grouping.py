"""Put patches that show the same thing into groups that must stay on one side of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.fingerprints import Fingerprints, Pairs, find_near_copies
from cracks.dataset.manifest import UNCERTAIN, distinct_rows, fingerprints_of, strips_of
from cracks.dataset.patch_facts import reduced_grey
from cracks.dataset.split.components import Names, chain_links, components, numbered
from cracks.dataset.split.lookalikes import COMPARED, Agreement, confirmed
from cracks.dataset.split.overlaps import overlap_candidates, overlap_correlation
from cracks.dataset.split.recrops import recrop_candidates, response
from cracks.dataset.split.weak_ties import Photographs, cut_large_groups, settle_ends
from cracks.system.console import progress
from cracks.workspace.params import SplitParams

#: What is read of the manifest.
COLUMNS = (
    *("id", "label", "shard", "row", "width", "fingerprint", "borders"),
    *("photo", "photo_by", "site"),
)


@dataclass(frozen=True)
class Likeness:
    """The distinct patches, sorted by id, and what they have in common."""

    patches: pa.Table  # their rows of the manifest
    fingerprints: Fingerprints
    near_copies: Pairs  # the same picture
    recrops: Pairs  # the same place, cut out a little further on
    overlaps: Pairs  # tiles of which a part shows the same; of one known photograph none
    photographs: Photographs  # of each row of the manifest
    tied: npt.NDArray[np.bool_]  # (files,) whether each must stay with its photograph
    sites: Names | None  # (files,) the site of each row of the manifest, where whole sites stay
    left_out: npt.NDArray[np.bool_]  # (n,) would tie what does not belong together

    @property
    def patch_of_file(self) -> Names:
        """The patch of each row of the manifest, (files,)."""
        return self.photographs.patch_of_file

    @property
    def alike(self) -> Pairs:
        """The pairs that show the same, (m, 2)."""
        return np.concatenate([self.near_copies, self.recrops, self.overlaps])

    def pictures(self, used: npt.NDArray[np.bool_]) -> Names:
        """Return the picture of each patch, (n,); what is not `used` ties nothing together."""
        return components(between(self.near_copies, used), len(used))

    def links(self, used: npt.NDArray[np.bool_]) -> Pairs:
        """Return the pairs that must stay on one side; a photograph stays one without a patch."""
        return np.concatenate([self.alike, self.units(used)])

    def units(self, used: npt.NDArray[np.bool_]) -> Pairs:
        """Return the pairs that tie each photograph, or site, as far as its patches are `used`."""
        return _units(self.photographs, self.tied, self.sites, used[self.patch_of_file])


def find_likeness(manifest: pa.Table, images: Path, params: SplitParams) -> Likeness:
    """Find which files of a manifest show the same: copies, re-crops, overlaps, one photograph.

    Byte-identical files share their id, so they are one patch.

    Args:
        manifest: `COLUMNS` of it.
        images: folder of shards.
        params: how near a near-copy is, what proves the others, and what stays together.
    """
    first, patch_of_file = distinct_rows(manifest)
    fingerprints = fingerprints_of(manifest)[first]
    patches = manifest.select(("id", "label", "shard", "row", "width")).take(pa.array(first))
    near_copies = find_near_copies(fingerprints, params.near_copy_distance).pairs
    pictures = components(near_copies, len(patches))
    single = np.flatnonzero(pictures == np.arange(len(pictures)))
    candidates = single[recrop_candidates(fingerprints[single])]
    recrops = _compared(patches, candidates, images, response, params.recrop_response)
    photographs = _photographs(manifest, patch_of_file)
    candidates = single[overlap_candidates(strips_of(manifest)[first][single])]
    candidates = _not_of_one_photograph(candidates, photographs, first)
    least = params.overlap_correlation
    overlaps = _compared(patches, candidates, images, overlap_correlation, least)
    alike = np.concatenate([near_copies, recrops, overlaps])
    sites = numbered(manifest["site"].to_pylist()) if params.unit == "site" else None
    tied, left_out = settle_ends(photographs, alike, len(patches))
    units = _units(photographs, tied, sites, ~left_out[patch_of_file])
    remaining = between(alike, ~left_out)
    left_out |= cut_large_groups(units, remaining, len(patches), params.max_group_patches)
    same = (near_copies, recrops, overlaps)
    return Likeness(patches, fingerprints, *same, photographs, tied, sites, left_out)


def _photographs(manifest: pa.Table, patch_of_file: Names) -> Photographs:
    columns = (manifest[name].to_pylist() for name in ("site", "photo", "photo_by"))
    rows = list(zip(*columns, strict=True))
    names = [(site, photo) if photo else None for site, photo, _ in rows]
    certain = np.array([way != UNCERTAIN for _, _, way in rows], bool)
    return Photographs(patch_of_file, numbered(names), certain)


def _not_of_one_photograph(
    pairs: Pairs, photographs: Photographs, first: npt.NDArray[np.int64]
) -> Pairs:
    """Return the pairs that no known photograph ties already; `first` is a file of each patch."""
    numbers = np.where(photographs.known, photographs.numbers, -1)[first][pairs]
    apart: Pairs = pairs[(numbers[:, 0] < 0) | (numbers[:, 0] != numbers[:, 1])]
    return apart


def _units(
    photographs: Photographs,
    tied: npt.NDArray[np.bool_],
    sites: Names | None,
    members: npt.NDArray[np.bool_],
) -> Pairs:
    """Return the pairs that tie each photograph, and each site where they are given."""
    of_photographs = photographs.links(tied & members)
    if sites is None:
        return of_photographs
    of_sites = chain_links(photographs.patch_of_file[members], sites[members])
    return np.concatenate([of_photographs, of_sites])


def between(pairs: Pairs, used: npt.NDArray[np.bool_]) -> Pairs:
    """Return the pairs of which both are `used`, (n,)."""
    return pairs[used[pairs].all(axis=1)]


def _compared(
    patches: pa.Table, candidates: Pairs, images: Path, agreement: Agreement, least: float
) -> Pairs:
    """Return the pairs of patches whose pictures agree."""
    # Pairs that share patches come together, so that each patch is decoded about once.
    order = np.argsort(components(candidates, len(patches))[candidates[:, 0]], kind="stable")
    with progress(len(candidates), "comparing look-alikes", "pairs") as advance:
        return confirmed(
            candidates[order],
            lambda rows: reduced_grey(patches.take(pa.array(rows)), images, COMPARED),
            agreement,
            least,
            advance,
        )
