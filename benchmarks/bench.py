"""What the parts have in common: photographs, a scratch folder, and the loop they compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.photographs import Photographs
from benchmarks.scratch import Scratch
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths

#: Shards that loops run over.
SHARDS = 1


@dataclass(frozen=True)
class Bench:
    """Measures with some photographs in a scratch folder."""

    photographs: Photographs
    scratch: Scratch

    def bare_loop(self, paths: Paths, network: Path, precision: str) -> dict[str, Any]:
        """Return what bare_loop.py prints of a network and the images of a workspace."""
        self.scratch.tell("the bare loop")
        batch_size = load_params(paths.params).featurize.batch_size
        given = (paths.images, network, precision, SHARDS, batch_size)
        return self.scratch.run_script("bare_loop.py", *given).found
