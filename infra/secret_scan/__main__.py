"""`python -m infra.secret_scan [PATH…]`: the sources and their history, or logs and artifacts.

It exits with 0 where nothing is found, 1 where something is, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from infra.secret_scan.accepted import NAME, read_accepted, write_accepted
from infra.secret_scan.history import tracked_files, write_removed
from infra.secret_scan.scanning import Finding, files_below, scan

CHECKOUT = Path(__file__).resolve().parents[2]

#: Files of sources that are nothing but digests, of this tool or of packages.
PASSED_OVER = frozenset({NAME, "uv.lock"})

HISTORY = " (in the history)"


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; return the exit code."""
    given = _arguments(arguments)
    if given.paths:
        return _tell(scan(files_below(given.paths), made=True))
    baseline = given.repository / NAME
    found = [*scan_sources(given.repository), *scan_history(given.repository)]
    if given.accept:
        write_accepted(baseline, found)
        print(f"{len(found)} findings are accepted in {baseline}: look at each before you commit.")
        return 0
    accepted = read_accepted(baseline)
    return _tell([one for one in found if (one.kind, one.digest) not in accepted])


def scan_sources(repository: Path) -> list[Finding]:
    """Return what looks like a secret in the files that git tracks."""
    names = [name for name in tracked_files(repository) if str(name) not in PASSED_OVER]
    return _relative(scan(repository / name for name in names), repository)


def scan_history(repository: Path) -> list[Finding]:
    """Return what looks like a secret in what earlier commits had."""
    with tempfile.TemporaryDirectory(prefix="cracks-history-") as folder:
        removed = write_removed(repository, Path(folder))
        found = _relative(scan(removed), Path(folder))
    return [replace(one, file=one.file + HISTORY, line=0) for one in found]


def _relative(found: list[Finding], folder: Path) -> list[Finding]:
    return [replace(one, file=str(Path(one.file).relative_to(folder))) for one in found]


def _tell(found: list[Finding]) -> int:
    for one in found:
        print(f"{one.file}:{one.line}: {one.kind}" if one.line else f"{one.file}: {one.kind}")
    if not found:
        print("No secret was found.")
        return 0
    print(
        f"error: {len(found)} findings. A secret: make it invalid where it opens something, then "
        "take it out. None: end the line with `pragma: allowlist secret`, or `make secret-scan "
        "ACCEPT=1`.",
        file=sys.stderr,
    )
    return 1


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.secret_scan", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="logs and artifacts; none: the sources")
    parser.add_argument("--accept", action="store_true", help="what is found now is no secret")
    parser.add_argument("--repository", type=Path, default=CHECKOUT, help="by default this one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
