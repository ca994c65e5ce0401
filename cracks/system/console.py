"""Speak to a person at a terminal: log lines, tables, and how far long work has come."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cracks.system.atomic_files import write_json

#: Names the terminal of a person whose standard error a caller reads first (see versioning).
TERMINAL = "CRACKS_TERMINAL"

#: Names the file in which a caller finds how far the work has come, as `{"description": …,
#: "done": …, "total": …}`; it is written anew before each plain line.
PROGRESS_FILE = "CRACKS_PROGRESS_FILE"

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


#: Takes how many more are done.
Advance = Callable[[int], None]

#: Seconds between two plain lines, so that a log file stays readable.
LINE_INTERVAL = 5.0


@contextmanager
def progress(total: int, description: str, unit: str) -> Iterator[Advance]:
    """Yield a function to call with the number of things that were just done.

    What is shown goes to the terminal, or to standard error: how many of `total`, and `unit` per
    second.
    """
    with terminal() as screen:
        shown = (
            _bar(screen, total, description, unit) if screen else _lines(total, description, unit)
        )
        with shown as advance:
            yield advance


@contextmanager
def _bar(screen: TextIO, total: int, description: str, unit: str) -> Iterator[Advance]:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    start, done = time.monotonic(), 0
    with Progress(*columns, console=Console(file=screen), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(task, completed=done, rate=_rate(done, start, unit))

        yield advance


@contextmanager
def _lines(total: int, description: str, unit: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def say() -> None:
        if file := os.environ.get(PROGRESS_FILE):
            with suppress(OSError):  # the work must continue
                write_json(Path(file), {"description": description, "done": done, "total": total})
        rate = _rate(done, start, unit)
        print(f"  {description}: {done:,} of {total:,} {rate}", file=sys.stderr, flush=True)

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last >= LINE_INTERVAL:
            last = time.monotonic()
            say()

    yield advance
    say()


def _rate(done: int, start: float, unit: str) -> str:
    seconds = max(time.monotonic() - start, 1e-9)
    return f"({done / seconds:,.0f} {unit}/s)"
