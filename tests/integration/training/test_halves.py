"""The halves of the classifier as stages run them, and whole bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cracks.dataset.labels import CRACK, LABELS, NO_CRACK
from cracks.errors import BundleError
from cracks.images.decode import Pixels, decode_to_size
from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.bundle.bundle import CONTENT, NOVELTY, Bundle, open_bundle, seal_bundle
from cracks.inference.bundle.calibration import Calibration
from cracks.inference.bundle.classifier import Classifier
from cracks.system.hashing import digest_of_file
from tests.integration.bundles import (
    grey_image,
    make_bundle,
    plain_image,
    write_network_of_format_1,
)

if TYPE_CHECKING:
    import keras

SIZE = 64


# --- rounded --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.stack([decode_to_size(content, SIZE) for _, content in draw_sample(40, seed=5)])


def whole_network() -> keras.Model:
    """Return a small network with random weights."""
    import keras

    from cracks.training.networks.architectures import build_backbone, build_head, build_whole
    from cracks.workspace.params import FeaturizeParams

    keras.utils.set_random_seed(3)
    params = FeaturizeParams(
        architecture="cnn", weights="none", image_size=SIZE, precision="int8", batch_size=4
    )
    backbone = build_backbone(params)
    return build_whole(backbone, build_head(backbone.output_shape[-1], 0.0))


def rounded_operations(network: Path) -> int:
    import openvino

    model = openvino.Core().read_model(network)
    return sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


@pytest.mark.kernels
def test_of_both_halves_only_the_one_with_convolutions_is_rounded(
    pixels: Pixels, tmp_path: Path
) -> None:
    from cracks.training.networks.architectures import build_resizing, with_features
    from cracks.training.networks.halves import store_half

    whole = with_features(whole_network())
    given = pixels.astype(np.float32)
    exact = store_half(whole, tmp_path / "exact", "f32", given)
    rounded = store_half(whole, tmp_path / "rounded", "int8", given)
    resizing = store_half(build_resizing(SIZE, 32), tmp_path / "resizing", "int8", pixels)
    found = [rounded_operations(tmp_path / name / "network.xml") for name in ("exact", "resizing")]
    assert found == [0, 0]
    assert rounded_operations(tmp_path / "rounded/network.xml") > 0
    assert exact["largest_difference"] < 1e-3 * exact["largest_number"]
    assert resizing["largest_difference"] < 0.05
    assert rounded["largest_difference"] > exact["largest_difference"]


# --- bundles --------------------------------------------------------------------------------------

GREYS = [60, 130, 200]
SCORES = [grey / 255 for grey in GREYS]


def predictions(
    bundle: Bundle, *images: bytes
) -> list[tuple[str, float, float | None, bool | None]]:
    found = Classifier(bundle).predict(images, [str(i) for i in range(len(images))])
    return [(one.label, one.score, one.novelty, one.novel) for one in found]


def images(greys: list[int]) -> list[bytes]:
    return [grey_image(grey, size=SIZE) for grey in greys]


@pytest.mark.kernels
def test_a_bundle_of_the_first_format_predicts_and_says_nothing_of_novelty(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_network_of_format_1(folder / "model.xml", size=SIZE)
    content = {
        "format": 1,
        "labels": list(LABELS),
        "patch_size": SIZE,
        "threshold": 0.5,
        "architecture": "brightness",
        "lineage": {},
        "metrics": {},
        "files": {file.name: digest_of_file(file) for file in folder.iterdir()},
    }
    (folder / CONTENT).write_text(json.dumps(content))
    found = predictions(open_bundle(folder), *images(GREYS))
    assert [one[1] for one in found] == pytest.approx(SCORES, abs=1e-5)
    assert [(one[0], *one[2:]) for one in found] == [
        (NO_CRACK, None, None),
        (CRACK, None, None),
        (CRACK, None, None),
    ]


@pytest.mark.kernels
def test_the_threshold_is_one_of_calibrated_scores(tmp_path: Path) -> None:
    calibration = Calibration(method="temperature", temperature=2.0)
    bundle = make_bundle(tmp_path / "bundle", size=SIZE, calibration=calibration, threshold=0.64)
    raw = Classifier(bundle).measure(images(GREYS)).raw
    assert raw == pytest.approx(SCORES, abs=1e-5)
    # 190 of 255 is 0.745, above the threshold; calibrated it is 0.631, below it.
    found = predictions(bundle, *images([190, 200]))
    assert [one[:2] for one in found] == [
        (NO_CRACK, pytest.approx(0.63096, abs=1e-4)),
        (CRACK, pytest.approx(0.65599, abs=1e-4)),
    ]


@pytest.mark.kernels
def test_an_image_unlike_the_training_data_is_predicted_and_flagged(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", size=SIZE, novelty=True)
    red = plain_image((250, 160, 40), size=SIZE)
    grey, novel = predictions(bundle, grey_image(150, size=SIZE), red)
    assert (grey[0], novel[0]) == (CRACK, CRACK)
    assert grey[2] is not None
    assert grey[2] <= 1
    assert grey[3] is False
    assert novel[2] is not None
    assert novel[2] > 1
    assert novel[3] is True


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_description_that_was_sealed_damaged_is_refused_before_it_predicts(
    tmp_path: Path, content: bytes
) -> None:
    bundle = make_bundle(tmp_path / "bundle", size=SIZE)
    (bundle.folder / CONTENT).unlink()
    (bundle.folder / NOVELTY).write_bytes(content)
    kept = bundle.content.model_dump(exclude={"format", "files"})
    with pytest.raises(BundleError, match=rf"{NOVELTY} is no description of novelty"):
        Classifier(seal_bundle(bundle.folder, kept))


def test_no_image_gets_no_prediction(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", size=SIZE, novelty=True)
    assert predictions(bundle) == []
