"""The report of an inspection: what needs a look comes first, and nothing is needed from afar."""

from __future__ import annotations

from typing import Any

import pytest

from cracks.inference.photos.report_page import SHOWN, report_page
from tests.unit.system.test_html_page import NASTY, Page


def inspected(name: str, share: float = 0.0, **changes: Any) -> dict[str, Any]:
    tile = {"x": 0, "y": 120, "score": 0.9, "novel": False, "picture": "photos/a/tile-1.jpg"}
    return {
        "file": name,
        "label": "crack" if share else "no crack",
        "score": 0.9 if share else 0.1,
        "crack_share": share,
        "crack_area_cm2": None,
        "mm_per_px": None,
        "width": 4000,
        "height": 3000,
        "novel": False,
        "novel_share": 0.0,
        "regions": [{}] if share else [],
        "overlay": "photos/a b/overlay.jpg",
        "tiles_csv": "photos/a b/tiles.csv",
        "inspection_json": "photos/a b/inspection.json",
        "worst_tiles": [tile],
    } | changes


def test_the_photographs_with_most_cracks_come_first() -> None:
    page = Page(
        report_page([inspected("clean"), inspected("some", 0.1), inspected("most", 0.4)], [], "3")
    )
    assert [text for text in page.texts if text in ("clean", "some", "most")] == [
        *("most", "some", "clean"),
        *("most", "some", "clean"),
    ]
    assert page.texts[page.texts.index("Inspection of 3 photographs")]


def test_a_photograph_unlike_the_training_data_is_warned_of() -> None:
    assert "Do not trust" not in report_page([inspected("a")], [], "3")
    warned = report_page([inspected("a", novel=True, novel_share=0.8)], [], "3")
    assert "Do not trust" in warned
    assert "no: 80% of it is unlike the training data" in warned


def test_sizes_are_shown_where_the_scale_was_given() -> None:
    assert "cm²" not in report_page([inspected("a", 0.1)], [], "3")
    page = report_page([inspected("a", 0.1, mm_per_px=0.5, crack_area_cm2=1234.5)], [], "3")
    assert "1,234.5" in page
    assert "2.00 × 1.50 m" in page


def test_what_was_not_inspected_is_named_with_the_reason() -> None:
    page = Page(report_page([inspected("a")], [{"file": "b.jpg", "reason": "empty file"}], "3"))
    assert {"b.jpg", "empty file"} <= set(page.texts)


def test_names_cannot_become_markup_and_addresses_are_quoted() -> None:
    page = Page(report_page([inspected(NASTY, 0.1)], [{"file": NASTY, "reason": NASTY}], NASTY))
    assert page.count("script") == 0
    assert page.texts.count(NASTY) >= 4
    assert "photos/a%20b/overlay.jpg" in page.values("img", "src")


def test_of_very_many_photographs_all_are_named_and_the_worst_are_shown() -> None:
    many = [inspected(f"{number}", number / 1000) for number in range(SHOWN + 50)]
    page = Page(report_page(many, [], "3"))
    assert page.count("h2") == SHOWN
    assert page.count("tr") == len(many) + 1


@pytest.mark.parametrize("needed", ["http", "//", "<link", "<script", "@import", "url("])
def test_it_needs_nothing_from_elsewhere(needed: str) -> None:
    assert needed not in report_page([inspected("a", 0.1)], [], "3")
