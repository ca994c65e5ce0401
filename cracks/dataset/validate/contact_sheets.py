"""Draw the patches that break an expectation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cracks.dataset.figures import draw_contact_sheet
from cracks.dataset.manifest import with_column
from cracks.dataset.shards import rows_of
from cracks.workspace.stage_reports import ExpectationRow


def draw_sheets(
    expectations: Sequence[ExpectationRow], manifest: pa.Table, images: Path, docs: Path
) -> dict[str, str]:
    """Draw a sheet for each broken expectation that names patches.

    Args:
        expectations: rows of the report.
        manifest: one row a patch.
        images: folder of shards.
        docs: folder to draw into.

    Returns:
        The file of each sheet below `docs`, by the name of the expectation.
    """
    sheets = {}
    for number, row in enumerate(expectations):
        examples = [example for example in row["examples"] if "id" in example]
        if not row["success"] and examples:
            sheets[row["name"]] = f"sheets/{number:02d}.png"
            rows = _rows(examples, manifest)
            draw_contact_sheet(rows, images, row["name"], docs / sheets[row["name"]])
    return sheets


def _rows(examples: Sequence[Mapping[str, Any]], manifest: pa.Table) -> pa.Table:
    """Return the rows of examples. Copies share their id: each is drawn under its own path."""
    rows = rows_of([example["id"] for example in examples], manifest)
    paths = [
        example.get("path", path)
        for example, path in zip(examples, rows["path"].to_pylist(), strict=True)
    ]
    return with_column(rows, "path", paths)
