"""Show how far long work has come: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from cracks.system.terminal import terminal

#: Takes how many more are done.
Advance = Callable[[int], None]

#: Seconds between two plain lines, so that a log file stays readable.
LINE_INTERVAL = 5.0

#: A plain line, as `_lines` writes it.
LINE = re.compile(r"  (?P<description>.+): (?P<done>[\d,]+) of (?P<total>[\d,]+) \(")


@dataclass(frozen=True)
class Heard:
    """How far the work of another process has come, by a plain line of it."""

    description: str
    share: float  # done, from 0 to 1


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


def heard_in(line: str) -> Heard | None:
    """Return what a line of another process tells of its progress, if it is such a line."""
    found = LINE.match(line)
    if found is None:
        return None
    done, total = (int(found[name].replace(",", "")) for name in ("done", "total"))
    return Heard(found["description"], done / total if total else 1.0)


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
