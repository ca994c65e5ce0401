"""Templates: all of them can be read, and none passes over a value that is missing."""

from __future__ import annotations

import pytest
from jinja2 import TemplateRuntimeError

from cracks.registry.gate import Decision
from cracks.registry.model_card import limits_table
from cracks.system.templates import render
from tests.unit.builders import ROOT

TEMPLATES = sorted(
    file.relative_to(ROOT).as_posix()
    for package in ("cracks", "flows", "serving")
    for file in (ROOT / package).rglob("*.jinja")
)


def test_there_are_templates_of_pages_and_of_cards() -> None:
    assert {name.split(".")[-2] for name in TEMPLATES} == {"html", "md"}


# The pages of the service show nothing but what their scripts request.
@pytest.mark.parametrize("name", [name for name in TEMPLATES if "serving/page/" not in name])
def test_a_template_that_is_given_nothing_says_what_it_misses(name: str) -> None:
    with pytest.raises(TemplateRuntimeError, match=r"is undefined|block .* not found"):
        render(name)


def test_a_name_of_two_lines_with_a_bar_stays_in_its_row_and_unknown_numbers_are_empty() -> None:
    row = {"metric": "a|b\nc", "value": None, "min": 0.9, "max": ""}
    table = limits_table(Decision("first", "promote", [], [], [row]))
    assert table.splitlines()[-1] == r"| a\|b c |  | 0.9 |  |"


def test_what_a_template_leaves_out_leaves_one_empty_line() -> None:
    report = {"version": "3", "verdict": "undecided", "reasons": [], "run_id": "5c0b"}
    assert render("flows/approval_question.md.jinja", report=report).splitlines() == [
        "## Version 3: undecided",
        "",
        "The model card is in the MLflow registry; the run is `5c0b`.",
    ]
