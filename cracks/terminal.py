"""Show rows as a table to a person, on standard error so that standard output stays a program's."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

#: Columns where no terminal says how wide it is.
PLAIN_WIDTH = 140


def print_table(
    rows: Sequence[Mapping[str, Any]], title: str, *, standard_output: bool = False
) -> None:
    """Print rows of equal keys; nothing for no rows."""
    if not rows:
        return
    stream = sys.stdout if standard_output else sys.stderr
    width = None if stream.isatty() else PLAIN_WIDTH
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(file=stream, width=width, markup=False).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
