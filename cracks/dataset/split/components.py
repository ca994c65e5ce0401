"""Name what is linked, in any number of steps, by one number."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from cracks.dataset.fingerprints import Pairs

Names = npt.NDArray[np.int64]  # (n,) the same number for what belongs together


def numbered(names: Sequence[Hashable | None]) -> Names:
    """Return a number for each name, (n,), the same for equal ones, and -1 for None."""
    numbers: dict[Hashable | None, int] = {None: -1}
    return np.array([numbers.setdefault(name, len(numbers) - 1) for name in names], np.int64)


def chain_links(patch_of_file: Names, units: Names) -> Pairs:
    """Return pairs that link the patches of each photograph, or site, in a chain, (m, 2)."""
    order = np.argsort(units, kind="stable")
    same = units[order[1:]] == units[order[:-1]]
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
