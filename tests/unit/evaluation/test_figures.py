"""Figures of scored patches: which are drawn, in which order, and what stands above them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cracks.evaluation.figures import patches as figures
from cracks.evaluation.metrics import Scored
from cracks.images.decode import Pixels

IDS = [f"patch{i}" for i in range(5)]
SCORED = Scored(
    np.array([True, False, True, False, True]), np.array([0.4, 0.9, 0.05, 0.1, 0.8]), 0.5, IDS
)


def _pictures(ids: Sequence[str]) -> list[Pixels]:
    return [np.full((8, 8, 3), int(id_.removeprefix("patch")), np.uint8) for id_ in ids]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The number of each patch that is drawn, and its caption."""
    found: list[tuple[int, str]] = []
    monkeypatch.setattr(
        figures, "show", lambda _, pixels, caption: found.append((pixels[0, 0, 0], caption))
    )
    return found


def test_the_worst_mistakes_are_drawn_with_their_kind_and_score(
    shown: list[tuple[int, str]], tmp_path: Path
) -> None:
    figures.draw_mistakes(IDS, SCORED, _pictures, 2, tmp_path)
    assert shown == [(2, "missed crack 0.050"), (1, "false alarm 0.900")]
    assert (tmp_path / "mistakes.png").is_file()


def test_the_least_certain_patches_are_drawn_and_the_wrong_ones_named(
    shown: list[tuple[int, str]], tmp_path: Path
) -> None:
    figures.draw_least_certain(IDS, SCORED, _pictures, 2, tmp_path)
    assert shown == [(0, "crack 0.400, wrong"), (4, "crack 0.800")]
    assert (tmp_path / "least_certain.png").is_file()


@pytest.mark.parametrize(
    ("suspected", "drawn"), [("nnn", []), ("yny", [0, 1, 2]), ("ynyyn", [0, 1, 2, 4])]
)
def test_the_most_suspicious_labels_are_drawn_among_as_many_others(
    shown: list[tuple[int, str]], tmp_path: Path, suspected: str, drawn: list[int]
) -> None:
    rows: list[dict[str, Any]] = [
        {"id": name, "label": "crack", "score": i / 100, "suspected": {"y": "yes", "n": "no"}[one]}
        for i, (name, one) in enumerate(zip(IDS, suspected, strict=False))
    ]
    figures.draw_label_errors(rows, _pictures, 4, tmp_path)
    assert shown == [(i, "crack?") for i in drawn]
    assert (tmp_path / "label_errors.png").is_file()
