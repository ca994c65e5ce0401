"""What is measured, as rows: medians, ratios and spreads, and how rows are kept and shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cracks.errors import one_line

Ours = TypeVar("Ours")
Reference = TypeVar("Reference")

#: Significant digits that are kept; single runs are not reproducible to more.
DIGITS = 4


@dataclass(frozen=True)
class Row:
    """One measured figure, and its reference if there is one."""

    name: str  # part.figure
    ours: float
    reference: float | None
    ratio: float | None
    spread: float | None  # of ours: (largest - smallest) / median; None for a single run
    unit: str
    note: str


#: Measures something and yields its rows; what it measured before it failed counts.
Measure = Callable[[], Iterator[Row]]


def measured(name: str, values: Sequence[float], unit: str, note: str) -> Row:
    """Return the row of a figure that is compared with nothing.

    Args:
        name: part.figure.
        values: one for each repetition, at least one.
        unit: of the values.
        note: what was measured, on what.
    """
    return Row(name, _rounded(statistics.median(values)), None, None, spread(values), unit, note)


def compared(
    name: str,
    ours: Sequence[float],
    reference: Sequence[float],
    unit: str,
    note: str,
    *,
    inverse: bool = False,
) -> Row:
    """Return the row of two figures, the medians of their repetitions.

    Args:
        name: part.figure.
        ours: one value for each repetition, at least one.
        reference: likewise, measured in turn with ours.
        unit: of both.
        note: what was measured, on what.
        inverse: the ratio is reference/ours (how many times faster) and not ours/reference.
    """
    left, right = statistics.median(ours), statistics.median(reference)
    above, below = (right, left) if inverse else (left, right)
    ratio = _rounded(above / below) if below else None
    return Row(name, _rounded(left), _rounded(right), ratio, spread(ours), unit, note)


def spread(values: Sequence[float]) -> float | None:
    """Return (largest - smallest) / median, or None where there is nothing to say."""
    median = statistics.median(values)
    if len(values) < 2 or not median:
        return None
    return _rounded((max(values) - min(values)) / median)


def speeds(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the images a second of some runs."""
    return [run["images_per_s"] for run in runs]


def in_turn(
    repetitions: int, ours: Callable[[], Ours], reference: Callable[[], Reference]
) -> tuple[list[Ours], list[Reference]]:
    """Call both in turn, so that a machine that slows down slows down both."""
    pairs = [(ours(), reference()) for _ in range(repetitions)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def run_measures(
    measures: Mapping[str, Measure], tell: Callable[[str], None]
) -> tuple[list[Row], bool]:
    """Run one measure after the other; return their rows, and whether all went well.

    Args:
        measures: by name.
        tell: is given a line when one begins, fails or ends.
    """
    rows: list[Row] = []
    well = True
    for name, measure in measures.items():
        tell(name)
        start = time.monotonic()
        try:
            for row in measure():
                rows.append(row)  # noqa: PERF402 (what was measured before a failure counts)
        except Exception as error:
            well = False
            tell(f"error: {name}: {one_line(error)}")
        tell(f"{name} took {time.monotonic() - start:.0f} s")
    return rows, well


def merged(
    earlier: Sequence[Mapping[str, Any]], rows: Sequence[Row], part: str
) -> list[dict[str, Any]]:
    """Return the earlier rows of other parts, then the new ones of `part`.

    An earlier row of a part that ran goes even if it was not measured again: old and new figures
    of one part would pass for those of one run.
    """
    kept = [dict(row) for row in earlier if str(row["name"]).split(".")[0] != part]
    return kept + [asdict(row) for row in rows]


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows as a person reads them, with as many digits as say something."""
    figures = ("ours", "reference", "ratio", "spread")
    return [dict(row) | {figure: _shown(row[figure]) for figure in figures} for row in rows]


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
