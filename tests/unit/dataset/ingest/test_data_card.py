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
    "photos": {"photographs": 513, "photographs_known": 0.3664},
}
SITES = [
    {"site": "pier", "photographs": 1500, "known by": "folder 20,000"},
    {"site": "a|b", "photographs": 13, "known by": "table 12, unknown 300"},
]


SAID: dict[str, list[str]] = {
    "mendeley": ["Özgenel", "10.17632/5y9wdsg2zt.2", "Version 2", "CC BY 4.0", "Cite also"],
    "sample": [
        "says nothing about real concrete",
        "40,000 patches",
        "20,000 `no crack`, 20,000 `crack`",
        "38,402",
        "513 known photographs, of 36.6% of the patches",
        "1,200 files in quarantine",
        "`0123abcd`",
    ],
    "../photos": ["- **../photos**: photographs of your own", "docs/cards.md"],
    "s3://inspections/2026": ["- **s3://inspections/2026**: photographs of your own"],
}


@pytest.mark.parametrize("source", SAID)
def test_the_card_says_where_the_data_comes_from_its_licence_and_what_is_in_it(source: str) -> None:
    card = data_card([source], REPORT, [], SITES)
    for said in SAID[source]:
        assert said in card
    assert ("CC BY" in card) is (source == "mendeley")


def test_every_source_is_listed_in_its_order() -> None:
    card = data_card(["mendeley", "new.zip", "sample"], REPORT, [], SITES)
    places = [card.index(f"- **{source}**") for source in ("mendeley", "new.zip", "sample")]
    assert places == sorted(places)


def test_the_card_has_a_row_for_each_site() -> None:
    table = "\n".join(
        [
            "| site | photographs | known by |",
            "|---|---|---|",
            "| pier | 1,500 | folder 20,000 |",
            "| a\\|b | 13 | table 12, unknown 300 |",
        ]
    )
    assert f"## Sites\n\n{table}\n" in data_card(["sample"], REPORT, [], SITES)


def test_downloaded_files_are_listed_only_where_there_are_any() -> None:
    line = "photos.rar: 5 bytes, SHA-256 `00`"
    assert f"## Files\n\n- {line}\n" in data_card(["mendeley"], REPORT, [line], SITES)
    assert "Files" not in data_card(["sample"], REPORT, [], SITES)


def test_the_card_ends_with_one_new_line_and_says_nothing_of_today() -> None:
    card = data_card(["mendeley"], REPORT, [], SITES)
    assert card.endswith("\n")
    assert not card.endswith("\n\n")
    assert card == data_card(["mendeley"], REPORT, [], SITES)
