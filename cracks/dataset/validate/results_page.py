"""Show what became of the expectations: a table for a terminal, a page that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cracks.system.html_page import table_page
from cracks.workspace.stage_reports import ExpectationRow

#: Broken rows that a table names.
EXAMPLES = 5


def expectations_table(expectations: Sequence[ExpectationRow]) -> list[dict[str, str]]:
    """Return the expectations with what was observed and example rows, the broken ones first."""
    rows = sorted(expectations, key=lambda row: bool(row["success"]))
    return [
        {
            "expectation": row["name"],
            "result": "ok" if row["success"] else f"broken ({row['severity']})",
            "observed": ". ".join(filter(None, (row["observed"], row["advice"]))),
            "examples": "; ".join(_example(one) for one in row["examples"][:EXAMPLES]),
        }
        for row in rows
    ]


def overview_page(
    expectations: Sequence[ExpectationRow], pages: Sequence[str], sheets: Mapping[str, str]
) -> str:
    """Return an HTML page of all expectations, with the pictures of what breaks them.

    The library's own pages take their style from elsewhere and are bare without a network; this
    one says the same and needs nothing.

    Args:
        expectations: rows of the report.
        pages: the library's own pages, relative to this one.
        sheets: pictures by the name of the expectation, relative to this page.
    """
    broken = sum(not row["success"] for row in expectations)
    said = f"{broken} of {len(expectations)} expectations are broken" if broken else "All hold"
    rows = expectations_table(expectations)
    return table_page("The data's expectations", said, rows, pages, sheets)


def _example(row: Mapping[str, Any]) -> str:
    return " · ".join(str(value) for name, value in row.items() if name != "id")
