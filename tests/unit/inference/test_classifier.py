"""The classifier: what the network gives is calibrated before it is held against the threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cracks.images.decode import Pixels
from cracks.inference.bundle import classifier
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.runtime.openvino_runtime import Outputs
from tests.unit.builders import sealed_bundle


class Brightness:
    """A network whose score is the mean grey value."""

    def __init__(self, *_: object) -> None:
        pass

    def stream(self, batches: Iterable[Pixels]) -> Iterator[Outputs]:
        for batch in batches:
            yield {"score": np.float32(batch.mean(axis=(1, 2, 3)) / 255)[:, None]}


def test_scores_are_calibrated_and_told_beside_the_raw_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "Network", Brightness)
    calibration = {"method": "isotonic", "knots": [[0.2, 0.1], [0.6, 0.4], [0.8, 0.9]]}
    bundle = sealed_bundle(tmp_path / "bundle", calibration=calibration)
    pixels = np.stack([np.full((32, 32, 3), grey, np.uint8) for grey in (51, 153, 204)])
    loaded = Classifier(bundle)
    found = loaded.predictions_from(loaded.measure_pixels([pixels]))
    assert [one.raw for one in found] == pytest.approx([0.2, 0.6, 0.8])
    assert [one.score for one in found] == pytest.approx([0.1, 0.4, 0.9])
    assert [one.label for one in found] == ["no crack", "no crack", "crack"]
