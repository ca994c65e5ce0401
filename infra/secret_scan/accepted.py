"""What somebody has looked at and found to be no secret: .secrets.baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cracks.system.atomic_files import atomic_replace
from infra.secret_scan.scanning import Finding

NAME = ".secrets.baseline"


def read_accepted(file: Path) -> set[tuple[str, str]]:
    """Return kind and digest of each; wherever it stands, it is the same."""
    if not file.is_file():
        return set()
    kept = json.loads(file.read_text(encoding="utf-8"))
    return {(one["kind"], one["digest"]) for one in kept}


def write_accepted(file: Path, findings: Iterable[Finding]) -> None:
    """Accept these findings, and forget what is not found any more."""
    lines = {
        (one.file, one.kind, one.digest): {
            "file": one.file,
            "kind": one.kind,
            "digest": one.digest,
        }
        for one in findings
    }
    with atomic_replace(file) as partial:
        text = json.dumps([lines[key] for key in sorted(lines)], indent=1)
        partial.write_text(f"{text}\n", encoding="utf-8")
