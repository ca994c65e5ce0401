"""Evidence: photographs count where nearly all are known, whole sites where they are the unit."""

from __future__ import annotations

import pytest

from cracks.dataset.split.evidence import MOSTLY_KNOWN, counted
from cracks.workspace.params import Unit


@pytest.mark.parametrize(
    ("unit", "known", "expected"),
    [
        ("photo", 1.0, "photographs"),
        ("photo", MOSTLY_KNOWN, "photographs"),
        ("photo", MOSTLY_KNOWN - 1e-5, "patches"),
        ("site", 0.0, "sites"),
    ],
)
def test_what_counts_as_one_piece_of_evidence(unit: Unit, known: float, expected: str) -> None:
    assert counted(unit, known) == expected
