"""Golden patches: a few images in the bundle, with the scores that it must give anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cracks.inference.bundle.bundle_tables import read_bundle_table
from cracks.inference.bundle.calibration import Scores
from cracks.workspace.tables import write_table

PATCHES = 8


@dataclass(frozen=True)
class GoldenPatches:
    """Some patches of test with the raw scores that they were exported with."""

    contents: list[bytes]
    raw: Scores  # (n,), of the bundle's own network
    keras: Scores  # (n,), of the Keras model that the network was made from


def choose_golden(contents: list[bytes], raw: Scores, keras: Scores) -> GoldenPatches:
    """Return a few patches from the surest `no crack` to the surest `crack`."""
    order = np.argsort(keras, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, PATCHES).round().astype(int))]
    return GoldenPatches([contents[i] for i in chosen], raw[chosen], keras[chosen])


def write_golden(golden: GoldenPatches, file: Path) -> None:
    """Write the patches as a Parquet table, whole or not at all."""
    columns = {"image": golden.contents, "raw_score": golden.raw, "keras_score": golden.keras}
    write_table(pa.table(columns), file)


def read_golden(file: Path) -> GoldenPatches:
    """Return the patches in `file`.

    Raises:
        BundleError: it is damaged.
    """
    table = read_bundle_table(file)
    return GoldenPatches(
        table["image"].to_pylist(),
        table["raw_score"].to_numpy(),
        table["keras_score"].to_numpy(),
    )
