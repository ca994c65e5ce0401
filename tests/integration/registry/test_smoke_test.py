"""The smoke test: a bundle shows its golden scores before it is put into service, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cracks.errors import BundleError
from cracks.inference.bundle.golden_patches import GoldenPatches
from cracks.registry.promotion.smoke_test import smoke_test
from cracks.workspace.params import PromoteParams
from tests.integration.bundles import PATCH_SIZE, grey_image, make_bundle

LIMITS = PromoteParams(max_golden_difference=0.001, max_latency_ms=60_000, service_timeout=1)
GREYS = (40, 200)
SCORES = np.array(GREYS) / 255


def golden(raw: float = 0.0, keras: float = 0.0) -> GoldenPatches:
    """Return two patches; their scores are off by `raw` and `keras`."""
    return GoldenPatches([grey_image(grey) for grey in GREYS], SCORES + raw, SCORES + keras)


@pytest.fixture(scope="module")
def keras_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The brightness of an image as a Keras model."""
    import keras

    pixels = keras.Input((PATCH_SIZE, PATCH_SIZE, 3), dtype="uint8")
    floats = keras.layers.Rescaling(1 / 255, dtype="float32")(pixels)
    mean = keras.layers.GlobalAveragePooling2D()(floats)
    score = keras.layers.Dense(1)
    model = keras.Model(pixels, score(mean))
    score.set_weights([np.full((3, 1), 1 / 3, np.float32), np.zeros(1, np.float32)])
    file = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(file)
    return file


@pytest.mark.kernels
def test_a_bundle_that_gives_its_golden_scores_passes(tmp_path: Path) -> None:
    found = smoke_test(make_bundle(tmp_path / "b", golden=golden()), LIMITS)
    assert found.patches == 2
    assert found.score_difference == pytest.approx(0, abs=1e-5)
    assert found.keras_difference is None
    assert found.median_ms
    assert found.median_ms > 0


@pytest.mark.parametrize("wrong", [0.01, np.nan])
def test_a_bundle_that_gives_other_scores_is_refused_with_the_number(
    tmp_path: Path, wrong: float
) -> None:
    bundle = make_bundle(tmp_path / "b", golden=golden(raw=wrong))
    with pytest.raises(BundleError, match="the bundle b gives other scores") as refusal:
        smoke_test(bundle, LIMITS)
    assert ("nan" if np.isnan(wrong) else "0.01") in str(refusal.value)


def test_a_slow_bundle_is_refused_with_the_number(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", golden=golden())
    with pytest.raises(BundleError, match=r"promote\.max_latency_ms allows"):
        smoke_test(bundle, LIMITS.model_copy(update={"max_latency_ms": 1e-6}))


def test_a_bundle_from_before_there_were_golden_patches_only_has_to_load(tmp_path: Path) -> None:
    assert smoke_test(make_bundle(tmp_path / "b"), LIMITS).patches == 0


@pytest.mark.kernels
def test_the_registered_keras_model_must_give_the_scores_it_was_exported_with(
    tmp_path: Path, keras_model: Path
) -> None:
    same = make_bundle(tmp_path / "same", golden=golden())
    assert smoke_test(same, LIMITS, keras_model).keras_difference == pytest.approx(0, abs=1e-3)
    other = make_bundle(tmp_path / "other", golden=golden(keras=0.2))
    with pytest.raises(BundleError, match=r"the registered Keras model gives other scores.*0\.2;"):
        smoke_test(other, LIMITS, keras_model)
