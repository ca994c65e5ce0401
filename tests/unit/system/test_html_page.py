"""Pages: readable without a network, whatever a file or a label is called."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from cracks.system.html_page import table_page

NASTY = '<script>alert("&")</script>'


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def values(self, tag: str, attribute: str) -> list[str | None]:
        return [attributes[attribute] for name, attributes in self.tags if name == tag]


ROWS = [{"name": "first", "value": "1"}, {"name": "second", "value": "2"}]


def test_a_page_is_a_heading_a_sentence_and_a_table() -> None:
    page = Page(table_page("Title", "All hold", ROWS))
    assert (page.count("th"), page.count("tr"), page.count("td")) == (2, 3, 4)
    for text in ("Title", "All hold", "name", "value", "first", "1", "second", "2"):
        assert text in page.texts
    assert (page.count("img"), page.count("a")) == (0, 0)


def test_links_and_pictures_are_shown_with_their_names() -> None:
    page = Page(table_page("t", "s", ROWS, ["a/b.html"], {"not blank": "sheets/00.png"}))
    assert page.values("a", "href") == ["a/b.html"]
    assert page.values("img", "src") == ["sheets/00.png"]
    assert page.values("img", "alt") == ["not blank"]
    assert page.texts.count("not blank") == 1


def test_a_page_without_rows_is_still_a_page() -> None:
    page = Page(table_page("Title", "Nothing", []))
    assert (page.count("table"), page.count("td")) == (1, 0)


def test_names_cannot_become_markup() -> None:
    text = table_page(NASTY, NASTY, [{NASTY: NASTY}], [NASTY], {NASTY: f"{NASTY}.png"})
    page = Page(text)
    assert page.count("script") == 0
    assert page.texts.count(NASTY) >= 5
    assert page.values("img", "src") == [f"{NASTY}.png"]


@pytest.mark.parametrize("needed", ["http", "//", "<link", "<script", "@import", "url("])
def test_a_page_needs_nothing_from_elsewhere(needed: str) -> None:
    assert needed not in table_page("t", "s", ROWS, ["a.html"], {"p": "p.png"})


def test_a_page_follows_the_reader_in_light_and_width() -> None:
    text = table_page("t", "s", ROWS)
    assert "color-scheme: light dark" in text
    assert 'name="viewport"' in text
    assert text.startswith("<!doctype html>")
    assert 'charset="utf-8"' in text
