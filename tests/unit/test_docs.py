"""The pages: their links lead somewhere, their paths exist, and the README stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.builders import ROOT

#: Pages for people; the changelog is not among them, for it names what was there before.
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "infra/README.md",
        ROOT / "infra/stack/README.md",
        ROOT / "mlflow/README.md",
    ]
)

#: A path with one of these at its beginning is meant to be one of this repository.
FOLDERS = (
    "benchmarks",
    "cli",
    "cracks",
    "docs",
    "flows",
    "infra",
    "mlflow",
    "serving",
    "tasks",
    "tests",
)

BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*")

#: What the decisions have, in this order.
FORM = ["Status", "Context", "Decision", "Consequences"]

DECISIONS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of commands."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(page)))
    return {title.strip().replace(" ", "-") for title in kept}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def absent_paths(page: Path) -> Iterator[str]:
    for quoted in QUOTED.findall(prose(page)):
        if PATH.fullmatch(quoted) and not (ROOT / quoted).exists():
            yield quoted


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_quoted_path_exists(page: Path) -> None:
    assert list(absent_paths(page)) == []


def test_a_broken_link_and_an_absent_path_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`\n[a](#one-two) [b](#three) [c](gone.md)\n`cracks/gone.py` `cli/`\n"
    )
    assert list(broken_links(page)) == ["#three", "gone.md"]
    assert list(absent_paths(page)) == ["cracks/gone.py"]


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


def test_the_readme_names_every_package_of_cracks() -> None:
    packages = {path.parent.name for path in (ROOT / "cracks").glob("*/__init__.py")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {one for one in packages if f"`cracks/{one}/`" not in readme} == set()


def test_the_index_names_every_page() -> None:
    index = prose(ROOT / "docs/README.md")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem[:4])
def test_a_decision_has_the_four_headings_and_stands_in_the_index(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")
    number = int(decision.name[:4])
    (title,) = re.findall(rf"\A# {number}\. (.+)\n", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == FORM
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    assert f"| {number} | [{title}]({decision.name}) |" in index


def test_the_glossary_is_in_alphabetical_order() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", prose(ROOT / "docs/glossary.md"), re.MULTILINE)
    words = [re.split(r"[,(]", row.lower())[0].strip() for row in rows if row != "word"]
    assert words == sorted(words)
    assert len(words) == len(set(words))
