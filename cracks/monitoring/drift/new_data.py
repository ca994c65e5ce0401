"""Drift of data that came since: patches that the champion has not seen, against those it has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.labels import CRACK
from cracks.dataset.manifest import numbers_of
from cracks.dataset.validate.drift import WATCHED, drift_from, profile_of
from cracks.monitoring.history import Signal
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table

#: New patches below which an index of ten bins says nothing.
FEWEST = 100


def measure_new_data(paths: Paths, known: Callable[[], pa.ChunkedArray], limit: float) -> Signal:
    """Return how far newly ingested patches lie from those that the champion was made with.

    It is shown, and starts nothing: the nightly training takes new data in anyway.

    Args:
        paths: of the workspace whose data is measured.
        known: returns the ids of the champion's patches; called where there is data to compare.
        limit: `validate.max_drift`, what is no large change yet.
    """
    if not paths.manifest.is_file():
        return Signal(name="new_data", says="this workspace has no data")
    return compared(read_table(paths.manifest), known(), limit)


def compared(manifest: pa.Table, known: pa.ChunkedArray, limit: float) -> Signal:
    """Return the population stability index of the patches that are not known, its worst one.

    Args:
        manifest: one row a patch.
        known: ids.
        limit: what is no large change yet.
    """
    is_known = pc.is_in(manifest["id"], known.combine_chunks())
    new, old = manifest.filter(pc.invert(is_known)), manifest.filter(is_known)
    if len(new) < FEWEST or not len(old):
        return Signal(name="new_data", count=len(new), says=f"{len(new):,} new patches, too few")
    cracked = [np.asarray(pc.equal(part["label"], CRACK)) for part in (old, new)]
    reference = profile_of(numbers_of(old, *WATCHED), cracked[0], "")
    drift = drift_from(reference, numbers_of(new, *WATCHED), cracked[1])
    worst = max(WATCHED, key=lambda name: drift[name])
    return Signal(
        name="new_data",
        value=drift[worst],
        expected=0.0,
        usual_up_to=limit,
        count=len(new),
        says=f"{worst} of {len(new):,} new patches: index {drift[worst]:.2f}",
    )
