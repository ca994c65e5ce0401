"""Make HTML pages that need nothing from elsewhere, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; }
td { overflow-wrap: anywhere; }
td:nth-child(2) { white-space: nowrap; }
img { max-width: 100%; }
tr { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
"""


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
    head = "".join(f"<th>{escape(column)}</th>" for column in (rows[0] if rows else {}))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>\n"
        for row in rows
    )
    more = "".join(f'<li><a href="{escape(link)}">{escape(link)}</a></li>' for link in links)
    shown = "".join(
        f'<h2>{escape(heading)}</h2><img src="{escape(address)}" alt="{escape(heading)}">\n'
        for heading, address in (pictures or {}).items()
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{escape(summary)}</p>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n"
        f"{shown}<ul>{more}</ul></body></html>\n"
    )
