"""Speak to a person at a terminal: find it, and show rows as a table."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

#: Names the terminal of a person whose standard error a caller reads first (see versioning).
TERMINAL = "CRACKS_TERMINAL"

#: Columns where no terminal says how wide it is.
PLAIN_WIDTH = 140


def show_log() -> None:
    """Print the lines that this project logs to standard error, as they are."""
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("cracks")
    logger.addHandler(plain)
    logger.setLevel(logging.INFO)


@contextmanager
def terminal() -> Iterator[TextIO | None]:
    """Yield the terminal that a person watches, or None where there is none."""
    named = os.environ.get(TERMINAL)
    if sys.stderr.isatty():
        yield sys.stderr
    elif named and Path(named).exists():
        with Path(named).open("w", encoding="utf-8") as stream:
            yield stream
    else:
        yield None


def print_table(
    rows: Sequence[Mapping[str, Any]], title: str, *, standard_output: bool = False
) -> None:
    """Print rows of equal keys, on standard error unless they are what was asked for.

    Nothing is printed for no rows.
    """
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
