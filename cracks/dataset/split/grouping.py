"""Put patches that show the same thing into groups that must stay on one side of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.fingerprints import Fingerprints, Pairs, find_near_copies
from cracks.dataset.manifest import distinct_rows, fingerprints_of, numbers_of
from cracks.dataset.patch_facts import reduced_grey
from cracks.dataset.split.photo_sequences import LOOK, find_runs, look_of
from cracks.dataset.split.recrops import ALIGNED, confirmed_recrops, recrop_candidates
from cracks.system.console import progress
from cracks.workspace.params import SplitParams

#: What is read of the manifest.
COLUMNS = ("id", "source", "path", "label", "shard", "row", "width", "fingerprint", *LOOK)

Names = npt.NDArray[np.int64]  # (n,) the same number for what belongs together


@dataclass(frozen=True)
class Likeness:
    """The distinct patches, sorted by id, and what they have in common."""

    patches: pa.Table  # their rows of the manifest
    fingerprints: Fingerprints
    near_copies: Pairs  # the same picture
    recrops: Pairs  # the same place, cut out a little further on
    patch_of_file: Names  # (files,) the patch of each row of the manifest
    runs: Names  # (files,) the run of each row of the manifest

    def pictures(self, used: npt.NDArray[np.bool_]) -> Names:
        """Return the picture of each patch, (n,); what is not `used` ties nothing together."""
        return components(_between(self.near_copies, used), len(used))

    def groups(self, used: npt.NDArray[np.bool_]) -> Names:
        """Return the group of each patch, (n,); what is not `used` ties nothing together."""
        return components(_between(self.links(used), used), len(used))

    def links(self, used: npt.NDArray[np.bool_]) -> Pairs:
        """Return the pairs that must stay on one side; a sequence continues past unused patches."""
        in_use = used[self.patch_of_file]
        in_runs = run_links(self.patch_of_file[in_use], self.runs[in_use])
        return np.concatenate([self.near_copies, self.recrops, in_runs])


def find_likeness(manifest: pa.Table, images: Path, params: SplitParams) -> Likeness:
    """Find near-copies, re-crops, and runs of one photograph among the files of a manifest.

    Byte-identical files share their id, so they are one patch.

    Args:
        manifest: `COLUMNS` of it.
        images: folder of shards.
        params: how near a near-copy is, what proves a re-crop, and what ends a run.
    """
    first, patch_of_file = distinct_rows(manifest)
    fingerprints = fingerprints_of(manifest)[first]
    patches = manifest.select(("id", "label", "shard", "row", "width")).take(pa.array(first))
    near_copies = find_near_copies(fingerprints, params.near_copy_distance).pairs
    places = zip(manifest["source"].to_pylist(), manifest["path"].to_pylist(), strict=True)
    runs = find_runs(
        [f"{source}/{path}" for source, path in places],
        look_of(numbers_of(manifest, *LOOK)),
        params.run_change,
    )
    pictures = components(near_copies, len(patches))
    recrops = _recrops(patches, pictures, fingerprints, images, params.recrop_response)
    return Likeness(patches, fingerprints, near_copies, recrops, patch_of_file, runs)


def _between(pairs: Pairs, used: npt.NDArray[np.bool_]) -> Pairs:
    return pairs[used[pairs].all(axis=1)]


def _recrops(
    patches: pa.Table, pictures: Names, fingerprints: Fingerprints, images: Path, response: float
) -> Pairs:
    """Return the pairs of re-crops among the first patches of each picture."""
    first = np.flatnonzero(pictures == np.arange(len(pictures)))
    candidates = first[recrop_candidates(fingerprints[first])]
    # Pairs that share patches come together, so that each patch is decoded about once.
    order = np.argsort(components(candidates, len(pictures))[candidates[:, 0]], kind="stable")
    with progress(len(candidates), "comparing look-alikes", "pairs") as advance:
        return confirmed_recrops(
            candidates[order],
            lambda rows: reduced_grey(patches.take(pa.array(rows)), images, ALIGNED),
            response,
            advance,
        )


def run_links(patch_of_file: Names, runs: Names) -> Pairs:
    """Return pairs that link the patches of each run in a chain, (m, 2)."""
    order = np.argsort(runs, kind="stable")
    same = runs[order[1:]] == runs[order[:-1]]
    ends = patch_of_file[order[:-1]][same], patch_of_file[order[1:]][same]
    return np.stack(ends, axis=1)


def components(pairs: Pairs, count: int) -> Names:
    """Return for each of `count` nodes the smallest one that it is linked with, or itself."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), bool)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, names = connected_components(graph, directed=False)
    _, first = np.unique(names, return_index=True)
    return np.asarray(first[names])
