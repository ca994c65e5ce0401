"""The data card: where the photographs come from, and under which licence."""

from __future__ import annotations

from typing import Any

import pytest

from cracks.dataset.ingest.data_card import data_card

REPORT: dict[str, Any] = {
    "source_digest": "0123abcd",
    "patches": 40_000,
    "distinct_patches": 38_402,
    "quarantined": 1_200,
    "labels": {"no crack": 20_000, "crack": 20_000},
}


def test_the_reference_data_set_is_cited_with_its_licence() -> None:
    card = data_card(["mendeley"], REPORT, [])
    for said in ("Özgenel", "10.17632/5y9wdsg2zt.2", "Version 2", "CC BY 4.0", "Cite also"):
        assert said in card


def test_drawn_photographs_are_said_to_be_no_photographs() -> None:
    assert "says nothing about real concrete" in data_card(["sample"], REPORT, [])


@pytest.mark.parametrize("source", ["../photos", "s3://inspections/2026", "new.zip"])
def test_photographs_of_ones_own_ask_for_their_licence(source: str) -> None:
    card = data_card([source], REPORT, [])
    assert f"- **{source}**: photographs of your own" in card
    assert "docs/cards.md" in card
    assert "CC BY" not in card


def test_every_source_is_listed_in_its_order() -> None:
    card = data_card(["mendeley", "new.zip", "sample"], REPORT, [])
    places = [card.index(f"- **{source}**") for source in ("mendeley", "new.zip", "sample")]
    assert places == sorted(places)


def test_the_numbers_are_those_of_the_report() -> None:
    card = data_card(["sample"], REPORT, [])
    for said in (
        "40,000 photographs",
        "20,000 `no crack`, 20,000 `crack`",
        "38,402",
        "1,200 files in quarantine",
        "`0123abcd`",
    ):
        assert said in card


def test_downloaded_files_are_listed_only_where_there_are_any() -> None:
    line = "photos.rar: 5 bytes, SHA-256 `00`"
    assert f"## Files\n\n- {line}\n" in data_card(["mendeley"], REPORT, [line])
    assert "Files" not in data_card(["sample"], REPORT, [])


def test_the_card_ends_with_one_new_line_and_says_nothing_of_today() -> None:
    card = data_card(["mendeley"], REPORT, [])
    assert card.endswith("\n")
    assert not card.endswith("\n\n")
    assert card == data_card(["mendeley"], REPORT, [])
