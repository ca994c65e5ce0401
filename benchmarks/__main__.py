"""`python -m benchmarks`: measure, keep the figures in reports/bench.json, show them as a table.

It exits with 0 when all is measured, 1 when something could not be, 2 for wrong usage, 130 on
Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import data, flows, model, monitoring, registry, scale, serving
from benchmarks.measurements import Measure, Row, merged, run_measures, table_rows
from benchmarks.photographs import CHECKOUT, Photographs, open_photographs
from benchmarks.scratch import ENDING, MeasurementFailed, Scratch, scratch
from cracks.errors import CracksError
from cracks.system.atomic_files import write_json
from cracks.system.console import print_table

#: Returns what a part measures with some photographs in a scratch folder, by name.
Part = Callable[[Photographs, Scratch], Mapping[str, Measure]]

PARTS: dict[str, Part] = {
    "data": data.measures,
    "flows": flows.measures,
    "model": model.measures,
    "monitoring": monitoring.measures,
    "registry": registry.measures,
    "scale": scale.measures,
    "serving": serving.measures,
}

REPORT = CHECKOUT / "reports" / "bench.json"

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that are asked for; return the exit code."""
    given = _arguments(arguments)
    parts = {given.only: PARTS[given.only]} if given.only else PARTS
    try:
        with scratch() as place:
            try:
                photographs = open_photographs(given.source, place)
            except (CracksError, MeasurementFailed) as error:
                print(f"error: --source: {error}", file=sys.stderr)
                return 2
            return 0 if _run(parts, photographs, place) else 1
    except KeyboardInterrupt:
        print("Interrupted. What it had started is ended and cleared away.", file=sys.stderr)
        return INTERRUPTED


def _run(parts: Mapping[str, Part], photographs: Photographs, place: Scratch) -> bool:
    """Run the parts, each of which is kept as soon as it is measured."""
    all_well = True
    place.tell(f"measuring with {photographs.count:,} photographs of {photographs.name}")
    for name, part in parts.items():
        start = time.monotonic()
        rows, well = run_measures(part(photographs, place), place.tell)
        all_well &= well
        write_json(REPORT, merged(_kept(), rows, name))
        place.tell(f"{name} took {time.monotonic() - start:.0f} s in all")
    print_table(table_rows(_kept()), str(REPORT), standard_output=True)
    return all_well


def _kept() -> list[dict[str, Any]]:
    """Return the rows of earlier runs; a file that is no such list is rewritten."""
    try:
        rows = json.loads(REPORT.read_text(encoding="utf-8"))
        return [asdict(Row(**row)) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure.")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument(
        "--source",
        metavar="PATH",
        type=Path,
        help="a folder or .zip of photographs; by default real ones in ../shared, or drawn ones",
    )
    return parser.parse_args(arguments)


def _end(number: int, _: FrameType | None) -> None:
    """Clear away and end; a second signal must not disturb that."""
    for other in ENDING:
        # Not SIG_IGN: Python complains of a signal that is pending when it is set.
        signal.signal(other, lambda *_: None)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


if __name__ == "__main__":
    for ending in ENDING:
        signal.signal(ending, _end)
    sys.exit(main())
