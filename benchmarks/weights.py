"""The weights of the notebooks' backbone, where they lie beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.photographs import shared

#: The notebooks' network and what it sees.
NETWORK_PARAMS = ("featurize.architecture=mobilenetv2", "featurize.image_size=160")


def trained_weights() -> Path | None:
    """Return the file of trained weights, or None where there is none."""
    file = shared("weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5").resolve()
    return file if file.is_file() else None


def network_params(weights: Path) -> list[str]:
    """Return the parameters of the notebooks' network with some weights."""
    return [*NETWORK_PARAMS, f"featurize.weights={json.dumps(str(weights))}"]
