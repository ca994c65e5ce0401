"""What is written of a training, and what the registry says of a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class TrainingRecord:
    """Everything that a run says of one training."""

    name: str
    params: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    resources: Mapping[str, Sequence[Mapping[str, float]]]  # of each stage, a row a second
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Sequence[Path]
    figures: Sequence[Path]
    bundle: Path
    model: Path
    example: npt.NDArray[np.uint8]  # (n, size, size, 3), what the model takes
    manifest: pd.DataFrame
    data_digest: str  # at most 36 characters
    data_source: str
    patches: pa.Table | None = None  # see `cracks.registry.lineage.chain.patches_table`


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry."""

    name: str
    version: str
    run_id: str
    aliases: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    created: float = 0.0  # seconds since 1970
