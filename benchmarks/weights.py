"""The weights of the notebooks' backbone, where they lie beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.photographs import CHECKOUT

#: Weights of MobileNetV2 that lie beside the checkout on some machines.
WEIGHTS = Path("weights") / "mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"

#: The notebooks' network and what it sees.
NETWORK_PARAMS = ("featurize.architecture=mobilenetv2", "featurize.image_size=160")


def trained_weights() -> Path | None:
    """Return the file of trained weights, or None where there is none."""
    shared = Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared"))
    file = (shared / WEIGHTS).resolve()
    return file if file.is_file() else None
