"""Newly ingested data: how far it lies from what the champion learned from; only shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cracks.dataset.labels import LABELS
from cracks.dataset.validate.drift import WATCHED
from cracks.monitoring.drift.new_data import FEWEST, compared, measure_new_data
from cracks.workspace.paths import Paths

LIMIT = 0.25


def manifest(old: int, new: int, **moved: float) -> tuple[pa.Table, pa.ChunkedArray]:
    """Return patches of which the last ones are new and moved in some facts; and the known ids."""
    rng = np.random.default_rng(6)
    columns = {name: rng.normal(100, 20, old + new) for name in WATCHED}
    for name, by in moved.items():
        columns[name][old:] += by
    ids = [f"{number:064x}" for number in range(old + new)]
    labels = [LABELS[number % 2] for number in range(old + new)]
    table = pa.table({"id": ids, "label": labels, **columns})
    return table, table["id"].slice(0, old)


def test_new_data_like_the_known_has_a_small_index() -> None:
    signal = compared(*manifest(4000, 1000), LIMIT)
    assert (signal.count, signal.usual_up_to) == (1000, LIMIT)
    assert signal.value is not None
    assert 0 < signal.value < 0.1
    assert not signal.fired


@pytest.mark.parametrize("name", WATCHED)
def test_what_has_moved_is_told_by_its_name(name: str) -> None:
    signal = compared(*manifest(4000, 1000, **{name: 20}), LIMIT)
    assert signal.value is not None
    assert signal.value > LIMIT
    assert signal.says.startswith(f"{name} of 1,000 new patches")
    # It is shown only: the next training takes new data in anyway.
    assert not signal.fired


@pytest.mark.parametrize(("old", "new"), [(4000, 0), (4000, FEWEST - 1), (0, 4000)])
def test_too_little_to_compare_is_said_and_has_no_index(old: int, new: int) -> None:
    signal = compared(*manifest(old, new), LIMIT)
    assert signal.value is None
    assert signal.says == f"{new:,} new patches, too few"


def test_a_machine_without_data_says_so(tmp_path: Path) -> None:
    signal = measure_new_data(Paths(tmp_path), lambda: manifest(1, 0)[1], LIMIT)
    assert signal.says == "this workspace has no data"
