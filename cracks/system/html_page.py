"""Make HTML pages that need nothing from elsewhere, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cracks.system.templates import render


def table_page(
    title: str,
    summary: str,
    rows: Sequence[Mapping[str, str]],
    links: Sequence[str] = (),
    pictures: Mapping[str, str] | None = None,
) -> str:
    """Return a page of one table.

    Args:
        title: its heading.
        summary: one sentence below it.
        rows: of equal keys, which become the columns.
        links: addresses of further pages, relative to this one.
        pictures: addresses of pictures by their heading, shown below the table.
    """
    template = "cracks/system/table_page.html.jinja"
    values = {"title": title, "summary": summary, "rows": rows, "links": links}
    return render(template, **values, pictures=pictures or {}) + "\n"
