"""Keep groups apart that a few doubtful patches would tie: they follow one side, or are left out.

By single linkage one wrong tie joins two groups for good, and enough of them join everything, as
in percolation (Jain & Dubes, "Algorithms for Clustering Data", 1988, section 3.2, on chaining).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import Pairs
from cracks.dataset.split.components import Names, chain_links, components

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Photographs:
    """The photograph of each file."""

    patch_of_file: Names  # (files,)
    numbers: Names  # (files,), -1 where it is not known
    certain: Bools  # (files,), False at the two ends of a run, which may be another photograph's

    @property
    def known(self) -> Bools:
        """Whether the photograph of a file is known for certain, (files,)."""
        return np.asarray((self.numbers >= 0) & self.certain)

    def links(self, members: Bools) -> Pairs:
        """Return pairs of patches that tie each photograph together, as far as files are members.

        Args:
            members: (files,).
        """
        return chain_links(self.patch_of_file[members], self.numbers[members])


def settle_ends(photographs: Photographs, alike: Pairs, count: int) -> tuple[Bools, Bools]:
    """Decide for the uncertain patches of runs whether they stay with their run.

    One that looks like a patch elsewhere follows that one; one that would so tie two groups is left
    out; one that looks like nothing else stays with its run.

    Args:
        photographs: of the files.
        alike: pairs of patches that show the same.
        count: of the patches.

    Returns:
        Which files are tied to their photograph, (files,), and which patches are left out, (n,).
    """
    patch_of_file, known = photographs.patch_of_file, photographs.known
    uncertain = (photographs.numbers >= 0) & ~known
    is_end = np.zeros(count, bool)
    is_end[patch_of_file[uncertain]] = True
    is_end[patch_of_file[known]] = False
    ends = is_end[alike].sum(axis=1)
    groups = components(np.concatenate([photographs.links(known), alike[ends == 0]]), count)
    clusters = components(alike[ends == 2], count)
    follows: dict[int, set[int]] = defaultdict(set)
    for left, right in alike[ends == 1]:
        end, other = (left, right) if is_end[left] else (right, left)
        follows[int(clusters[end])].add(int(groups[other]))
    group_of = dict(
        zip(photographs.numbers[known].tolist(), groups[patch_of_file[known]].tolist(), strict=True)
    )
    members: dict[int, list[int]] = defaultdict(list)
    for file in np.flatnonzero(uncertain & is_end[patch_of_file]).tolist():
        members[int(clusters[patch_of_file[file]])].append(file)
    tied, left_out = known.copy(), np.zeros(count, bool)
    for cluster, files in members.items():
        numbers = photographs.numbers[files].tolist()
        homes = [group_of.get(number, -1 - number) for number in numbers]
        counts = Counter(homes)
        if len(follows[cluster]) > 1:
            left_out[patch_of_file[files]] = True
            continue
        (group,) = follows[cluster] or {min(counts, key=lambda one: (-counts[one], one))}
        for file, home in zip(files, homes, strict=True):
            tied[file] = home == group
            left_out[patch_of_file[file]] |= home != group and not follows[cluster]
    left_out[patch_of_file[tied]] = False
    return tied, left_out


def cut_large_groups(units: Pairs, alike: Pairs, count: int, most: int) -> Bools:
    """Return the patches to leave out so that no group is too large, (n,).

    Where a group is, its photographs are joined again, those first that most patches tie, as long
    as what comes of it is not too large. Of every tie that remains one patch is left out.

    Args:
        units: pairs that tie what is never cut: photographs, or sites.
        alike: pairs of patches that show the same.
        count: of the patches.
        most: patches of a group.
    """
    unit_of = components(units, count)
    groups = components(np.concatenate([units, alike]), count)
    ties = alike[(np.bincount(groups) > most)[groups[alike[:, 0]]]]
    left_out = np.zeros(count, bool)
    if not len(ties):
        return left_out
    # Taking the import's time only where there is something to take apart.
    from scipy.cluster.hierarchy import DisjointSet

    joined = DisjointSet(range(count))
    for patch, unit in enumerate(unit_of.tolist()):
        joined.merge(unit, patch)
    weights = Counter((int(a), int(b)) for a, b in np.sort(unit_of[ties], axis=1))
    for pair, _ in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        if sum(map(joined.subset_size, pair)) <= most:
            joined.merge(*pair)
    cut = [pair for pair in ties.tolist() if not joined.connected(*pair)]
    left_out[one_of_each(cut)] = True
    return left_out


def one_of_each(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return at least one patch of each pair, and few: those first that are in most pairs."""
    often, chosen = Counter(patch for pair in pairs for patch in pair), set[int]()
    for pair in pairs:
        if chosen.isdisjoint(pair):
            chosen.add(max(pair, key=lambda patch: (often[patch], patch)))
    return sorted(chosen)
