"""Tables in a bundle: what is wrong with one is a fault of the bundle, not of a workspace."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from cracks.errors import BundleError, WorkspaceError
from cracks.workspace.tables import read_table


def read_bundle_table(file: Path) -> pa.Table:
    """Return a table of a bundle.

    Raises:
        BundleError: it is missing or damaged.
    """
    try:
        return read_table(file)
    except WorkspaceError as error:
        reason = str(error).split(" Run `dvc repro`")[0]
        raise BundleError(
            f"{reason} Promote the version again: `cracks promote` fetches its bundle again."
        ) from None
