"""Read and write the Parquet tables that pass from stage to stage."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cracks.errors import WorkspaceError, one_line
from cracks.system.atomic_files import atomic_replace


def write_table(table: pa.Table, path: Path) -> None:
    """Write `table` to `path`, whole or not at all; equal tables give equal bytes."""
    with atomic_replace(path) as partial:
        pq.write_table(table, partial)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table at `path`, all columns or some.

    Raises:
        WorkspaceError: there is none, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            wanted = list(columns or file.schema_arrow.names)
            # Group by group needs a third of the memory of the whole at once.
            groups = [
                file.read_row_group(number, columns=wanted, use_threads=False)
                for number in range(file.num_row_groups)
            ]
            empty = file.schema_arrow.empty_table().select(wanted)
        return pa.concat_tables([empty, *groups]).select(wanted)
    except FileNotFoundError:
        raise WorkspaceError(f"{path} does not exist. Run `dvc repro` to make it.") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no text
        raise WorkspaceError(
            f"{path} is damaged ({one_line(error)}). Run `dvc repro` to remake it."
        ) from None


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path, columns: Sequence[str] = ()) -> None:
    """Write rows of equal keys as CSV with a header, whole or not at all.

    Raises:
        ValueError: there is no row, and `columns` does not say what the header is.
    """
    if not rows and not columns:
        raise ValueError(f"no rows for {path}")
    with atomic_replace(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        # Every text is quoted: Python 3.11 leaves a carriage return bare, which ends a row.
        writer = csv.DictWriter(
            file, columns or rows[0].keys(), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
        )
        writer.writeheader()
        writer.writerows(rows)
