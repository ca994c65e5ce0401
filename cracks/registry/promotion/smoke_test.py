"""Try a bundle before it is put into service: it must give the right scores, and soon enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cracks.errors import BundleError
from cracks.images.decode import decode_stored
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.bundle.golden_patches import GoldenPatches, read_golden
from cracks.inference.runtime.latency import time_single
from cracks.workspace.params import PromoteParams

#: Repetitions that a latency is the median of.
REPETITIONS = 5


@dataclass(frozen=True)
class SmokeTest:
    """What the trial of a bundle found."""

    patches: int
    score_difference: float | None = None  # from the export
    keras_difference: float | None = None  # of the registered model, from the export
    median_ms: float | None = None  # one image


def smoke_test(bundle: Bundle, limits: PromoteParams, keras: Path | None = None) -> SmokeTest:
    """Predict for the golden patches of the bundle.

    Args:
        bundle: verified.
        limits: the section `promote` of params.yaml.
        keras: the registered Keras model, which must give the scores it was exported with; None
            leaves it alone, as it was tried when the version was promoted first.

    Raises:
        BundleError: it cannot be loaded, or a limit is exceeded, with the number.
    """
    classifier = Classifier(bundle)
    if bundle.golden is None:
        return SmokeTest(0)  # exported before there were golden patches: it loads, and that is all
    golden = read_golden(bundle.golden)
    difference = _largest(classifier.measure(golden.contents).raw, golden.raw)
    _require(difference, limits, f"the bundle {bundle.folder.name}")
    keras_difference = None
    if keras is not None:
        size = bundle.content.patch_size
        keras_difference = _largest(_keras_scores(keras, golden, size), golden.keras)
        _require(keras_difference, limits, "the registered Keras model")
    image = golden.contents[:1]
    median = time_single(lambda: classifier.measure(image), REPETITIONS)["median_ms"]
    if median > limits.max_latency_ms:
        raise BundleError(
            f"One image takes {median:.0f} ms, where promote.max_latency_ms allows "
            f"{limits.max_latency_ms:.0f}. Nothing was promoted; try when the machine is idle."
        )
    return SmokeTest(len(golden.contents), difference, keras_difference, median)


def _keras_scores(model: Path, golden: GoldenPatches, size: int) -> Any:
    from cracks.training.networks.startup import load_tensorflow

    load_tensorflow()
    from cracks.training.networks.fit import score
    from cracks.training.networks.keras_files import load_model

    pixels = np.stack([decode_stored(content, size) for content in golden.contents])
    return score(load_model(model), pixels)


def _largest(given: Any, expected: Any) -> float:
    return float(np.abs(given - expected).max())


def _require(difference: float, limits: PromoteParams, what: str) -> None:
    # Not `>`: a difference that is no number is no agreement.
    if not difference <= limits.max_golden_difference:
        raise BundleError(
            f"On the golden patches {what} gives other scores than at its export, by up to "
            f"{difference:.2g}; promote.max_golden_difference allows "
            f"{limits.max_golden_difference:.2g}. Nothing was promoted."
        )
