"""The networks in real Keras: storage, conversion, what learns, weights, and varied patches."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from disks import mounted_disk
from processes import CHECKOUT, wait_until
from webserver import Fault, FileServer, Handler, cut, page

from cracks.errors import BundleError, ParamsError, WeightsError, WorkspaceError
from cracks.images.decode import Pixels, decode
from cracks.images.synthetic_canvas import PATCH_SIZE
from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.runtime.openvino_runtime import Network, connected, save_network
from cracks.workspace.params import AugmentParams, FeaturizeParams

if TYPE_CHECKING:
    import keras

#: One of the sizes for which Keras has weights of its own.
IMAGE_SIZE = 96

IMPORTED_AND_LATER = """
import sys
from cracks.training.networks.startup import load_tensorflow
load_tensorflow()
import keras
print(*({"sklearn", "pandas", "matplotlib.pyplot"} & set(sys.modules)))
import sklearn, pandas, matplotlib.pyplot
"""


def featurize_params(
    architecture: str = "mobilenetv2", weights: str | Path = "none", image_size: int = IMAGE_SIZE
) -> FeaturizeParams:
    return FeaturizeParams.model_validate(
        {
            "architecture": architecture,
            "weights": str(weights),
            "image_size": image_size,
            "precision": "f32",
            "batch_size": 4,
        }
    )


def featurizer_of(params: FeaturizeParams) -> keras.Model:
    """Return the half that is computed once: resizing for the small network, else the backbone."""
    from cracks.training.networks.architectures import build_backbone, build_frozen, build_resizing
    from cracks.training.networks.reproducibility import make_reproducible

    make_reproducible(0)
    if params.architecture == "cnn":
        return build_resizing(PATCH_SIZE, params.image_size)
    return build_frozen(build_backbone(params), PATCH_SIZE, params.image_size)


def first_of(*architectures: str) -> list[Any]:
    """Return some architectures; the first one shows the rule, and the others are slow."""
    first, *others = architectures
    return [first, *(pytest.param(one, marks=pytest.mark.slow) for one in others)]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.stack([decode(content)[0] for _, content in draw_sample(12, seed=5)])


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    return small_classifier()


def small_classifier() -> keras.Model:
    from cracks.training.networks.architectures import (
        build_backbone,
        build_classifier,
        build_head,
        build_whole,
    )

    params = featurize_params("cnn", image_size=32)
    featurizer, backbone = featurizer_of(params), build_backbone(params)
    head = build_head(backbone.output_shape[-1], 0.2)
    return build_classifier(featurizer, build_whole(backbone, head))


# --- storage --------------------------------------------------------------------------------------


def test_the_same_model_built_and_saved_later_has_the_same_bytes(tmp_path: Path) -> None:
    import keras

    from cracks.training.networks.keras_files import save_model

    files = [tmp_path / "first.keras", tmp_path / "second.keras"]
    keras.utils.clear_session()  # else layers are numbered on from earlier tests
    save_model(small_classifier(), files[0])
    # An archive tells the time in steps of two seconds.
    start = time.time() // 2
    wait_until(lambda: time.time() // 2 > start, "another time", timeout=3)
    keras.utils.clear_session()
    save_model(small_classifier(), files[1])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_weights_are_saved_as_other_bytes(classifier: keras.Model, tmp_path: Path) -> None:
    from cracks.training.networks.keras_files import load_model, save_model

    save_model(classifier, tmp_path / "first.keras")
    changed = load_model(tmp_path / "first.keras")
    kernel, *others = changed.get_weights()
    changed.set_weights([kernel + 1e-6, *others])
    save_model(changed, tmp_path / "second.keras")
    first, second = ((tmp_path / f"{name}.keras").read_bytes() for name in ("first", "second"))
    assert first != second


@pytest.mark.kernels
def test_a_saved_model_scores_raw_pixels_as_before(
    classifier: keras.Model, pixels: Pixels, tmp_path: Path
) -> None:
    from cracks.training.networks.fit import score
    from cracks.training.networks.keras_files import load_model, save_model

    file = tmp_path / "models/classifier.keras"
    save_model(classifier, file)
    assert list(file.parent.iterdir()) == [file], "something was left behind"
    before = score(classifier, pixels)
    assert before.std() > 1e-4
    np.testing.assert_array_equal(score(load_model(file), pixels), before)


def test_a_model_that_carries_python_code_is_refused(tmp_path: Path) -> None:
    import keras

    from cracks.training.networks.keras_files import load_model

    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(tmp_path / "code.keras")
    with pytest.raises(WorkspaceError, match=r"code\.keras cannot be loaded"):
        load_model(tmp_path / "code.keras")


@pytest.mark.parametrize("share", [None, 0.0, 0.5, 0.98], ids=["missing", "empty", "half", "cut"])
def test_a_model_that_is_missing_or_damaged_is_refused_by_its_name(
    classifier: keras.Model, tmp_path: Path, share: float | None
) -> None:
    from cracks.training.networks.keras_files import load_model, save_model

    damaged = tmp_path / "damaged.keras"
    if share is not None:
        save_model(classifier, damaged)
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WorkspaceError, match=rf"{damaged} cannot be loaded .*`dvc repro`"):
        load_model(damaged)


# --- the same numbers in Keras and in OpenVINO ----------------------------------------------------


def spread(features: np.ndarray[Any, Any]) -> float:
    """Return how far the features of different images lie apart."""
    return float(features.std(axis=0).max())


@pytest.mark.kernels
@pytest.mark.parametrize("image_size", [32, 112])
def test_the_pixels_that_the_small_network_learns_from_are_the_same_in_openvino(
    pixels: Pixels, tmp_path: Path, image_size: int
) -> None:
    from cracks.training.networks.keras_files import convert_model

    featurizer = featurizer_of(featurize_params("cnn", image_size=image_size))
    convert_model(featurizer, tmp_path / "featurizer.xml")
    batches = [pixels[:5], pixels[5:]]
    converted = Network(tmp_path / "featurizer.xml").run_all(batches)["features"]
    in_keras = np.asarray(featurizer.predict_on_batch(pixels))
    assert converted.shape == in_keras.shape == (len(pixels), image_size, image_size, 3)
    assert spread(in_keras) > 10
    assert converted.min() >= 0
    assert converted.max() <= 255
    assert np.abs(converted - in_keras).max() < 0.05


@dataclass(frozen=True)
class Halves:
    """Both halves of a classifier that tells images apart, though it was never trained."""

    featurizer: keras.Model
    trainable: keras.Model

    def outputs(self, pixels: Pixels) -> dict[str, np.ndarray[Any, Any]]:
        """Return what Keras gives for the two in a row."""
        from cracks.training.networks.architectures import build_classifier, with_features

        whole = build_classifier(self.featurizer, with_features(self.trainable))
        outputs: dict[str, np.ndarray[Any, Any]] = whole.predict_on_batch(pixels)
        return outputs


def telling_halves(architecture: str, mode: str, pixels: Pixels) -> Halves:
    """Return halves with random weights, scaled so that numbers stay alive up to the scores."""
    import keras

    from cracks.training.networks.architectures import (
        build_backbone,
        build_frozen,
        build_head,
        build_resizing,
        build_whole,
    )

    params = featurize_params(architecture, image_size=64)
    keras.utils.set_random_seed(3)
    backbone = build_backbone(params)
    resizing = build_resizing(PATCH_SIZE, 64)
    alive(backbone, np.asarray(resizing(pixels)))
    features = np.asarray(backbone(resizing(pixels), training=False))
    head = build_head(features.shape[1], 0.2)
    direction = np.random.default_rng(0).standard_normal((features.shape[1], 1))
    logits = features @ direction
    kernel = direction * 2 / logits.std()
    head.set_weights([kernel, np.array([-2 * logits.mean() / logits.std()])])
    if mode == "probe":
        return Halves(build_frozen(backbone, PATCH_SIZE, 64), head)
    return Halves(resizing, build_whole(backbone, head))


def alive(backbone: keras.Model, given: np.ndarray[Any, Any]) -> None:
    """Let batch normalisation know these images; else random networks give all the same."""
    import keras

    normalising = [
        layer
        for layer in backbone._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momentum = [layer.momentum for layer in normalising]
    for layer in normalising:
        layer.momentum = 0.0
    backbone(given, training=True)
    for layer, before in zip(normalising, momentum, strict=True):
        layer.momentum = before


def test_a_network_for_which_there_is_no_room_is_told_of_as_the_system_says_it(
    tmp_path: Path,
) -> None:
    import openvino
    from openvino import opset13

    weights = opset13.constant(np.ones((1 << 20, 1), np.float32))  # 4 MB
    given = opset13.parameter([-1, 1 << 20], np.float32, name="image")
    network = openvino.Model([opset13.matmul(given, weights, False, False)], [given])
    with (
        mounted_disk(tmp_path / "disk", "512k") as disk,
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
    ):
        save_network(network, disk / "network.xml")
    save_network(network, tmp_path / "network.xml")
    assert (tmp_path / "network.bin").stat().st_size == 4 << 20


@pytest.mark.parametrize(
    ("architecture", "mode"),
    [
        pytest.param("cnn", "scratch", marks=pytest.mark.kernels),
        pytest.param("mobilenetv2", "probe", marks=pytest.mark.kernels),
        pytest.param("mobilenetv2", "finetune", marks=pytest.mark.slow),
        pytest.param("mobilenetv3small", "probe", marks=pytest.mark.slow),
        pytest.param("efficientnetv2b0", "probe", marks=pytest.mark.slow),
    ],
)
def test_both_halves_connected_predict_as_keras_does_by_name(
    pixels: Pixels, tmp_path: Path, architecture: str, mode: str
) -> None:
    from cracks.training.networks.architectures import with_features
    from cracks.training.networks.halves import store_half

    halves = telling_halves(architecture, mode, pixels)
    given = np.asarray(halves.featurizer(pixels))
    first = store_half(halves.featurizer, tmp_path / "featurizer", "f32", pixels)
    second = store_half(with_features(halves.trainable), tmp_path / "trainable", "f32", given)
    assert first["compared"] == second["compared"] == 8
    connected(
        tmp_path / "featurizer/network.xml", tmp_path / "trainable/network.xml", tmp_path / "m.xml"
    )
    outputs = Network(tmp_path / "m.xml").run_all([pixels[:5], pixels[5:]])
    expected = halves.outputs(pixels)
    assert outputs.keys() == {"score", "features"}
    assert outputs["score"].shape == (len(pixels), 1)
    assert outputs["features"].shape == expected["features"].shape
    assert expected["score"].std() > 0.1
    assert outputs["score"] == pytest.approx(expected["score"], abs=1e-3)
    difference = np.abs(outputs["features"] - expected["features"])
    assert difference.max() < 5e-3 * spread(expected["features"])


@pytest.mark.kernels
def test_a_half_that_openvino_computes_differently_is_refused_by_its_name(
    pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cracks.training.networks import halves as module

    convert = module.convert_model

    def converted_wrongly(model: keras.Model, path: Path) -> None:
        first, *others = model.get_weights()
        model.set_weights([first * 1.05, *others])
        convert(model, path)
        model.set_weights([first, *others])

    halves = telling_halves("cnn", "scratch", pixels)
    given = np.asarray(halves.featurizer(pixels))
    monkeypatch.setattr(module, "convert_model", converted_wrongly)
    with pytest.raises(BundleError, match=r"computes trainable differently from Keras") as refusal:
        module.store_half(halves.trainable, tmp_path / ".trainable.partial", "f32", given)
    assert "\n" not in str(refusal.value)


# --- what learns ----------------------------------------------------------------------------------


def statistics(model: keras.Model) -> list[np.ndarray[Any, Any]]:
    """Return what batch normalisation knows of the images it has seen."""
    return [np.asarray(w) for w in model.non_trainable_weights if "moving" in w.path]


def whole_network(architecture: str, *, tuned: bool) -> keras.Model:
    from cracks.training.networks.architectures import (
        build_backbone,
        build_head,
        build_whole,
        unfreeze,
    )

    backbone = build_backbone(featurize_params(architecture, image_size=32))
    if tuned:
        unfreeze(backbone, architecture, "auto")
    return build_whole(backbone, build_head(backbone.output_shape[-1], 0.0))


@pytest.mark.parametrize("architecture", first_of("mobilenetv3small", "mobilenetv2"))
@pytest.mark.parametrize("tuned", [True, False])
def test_batch_normalisation_keeps_its_statistics_when_tuned_and_learns_from_scratch(
    architecture: str, tuned: bool
) -> None:
    whole = whole_network(architecture, tuned=tuned)
    before = statistics(whole)
    assert len(before) > 20
    pixels = np.random.default_rng(1).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    whole(pixels, training=True)  # as `fit` calls it
    kept = [(a == b).all() for a, b in zip(before, statistics(whole), strict=True)]
    assert all(kept) if tuned else not any(kept)


@pytest.mark.parametrize(
    "architecture", first_of("mobilenetv3small", "mobilenetv2", "efficientnetv2b0")
)
def test_tuning_begins_at_the_named_layer_and_everything_before_it_stays(
    architecture: str,
) -> None:
    import keras

    from cracks.training.networks.architectures import (
        ARCHITECTURES,
        _network_in,
        build_backbone,
        build_head,
        build_whole,
        unfreeze,
    )

    backbone = build_backbone(featurize_params(architecture, image_size=32))
    count = unfreeze(backbone, architecture, "auto")
    layers = _network_in(backbone).layers
    first = [layer.name for layer in layers].index(ARCHITECTURES[architecture].from_layer)
    assert count == len(layers) - first
    assert 0.2 < first / len(layers) < 0.9
    whole = build_whole(backbone, build_head(backbone.output_shape[-1], 0.0))
    learning = {id(weight) for weight in whole.trainable_weights}
    assert not [w.path for layer in layers[:first] for w in layer.weights if id(w) in learning]
    convolutions = [la for la in layers[first:] if isinstance(la, keras.layers.Conv2D)]
    assert convolutions
    assert all(id(layer.kernel) in learning for layer in convolutions)
    assert {id(weight) for weight in whole.get_layer("head").weights} <= learning


def test_tuning_may_begin_at_any_layer() -> None:
    from cracks.training.networks.architectures import build_backbone, unfreeze

    backbone = build_backbone(featurize_params("mobilenetv3small", image_size=32))
    names = [layer.name for layer in backbone.layers]
    assert unfreeze(backbone, "mobilenetv3small", "conv_1") == len(names) - names.index("conv_1")
    assert not backbone.get_layer("expanded_conv_10_project").trainable_weights
    assert backbone.get_layer("conv_1").trainable_weights


def test_a_layer_that_does_not_exist_is_refused_in_one_line() -> None:
    from cracks.training.networks.architectures import build_backbone, unfreeze

    backbone = build_backbone(featurize_params("mobilenetv3small", image_size=32))
    with pytest.raises(
        ParamsError, match=r"train\.finetune\.from_layer: mobilenetv3small has no layer 'top'"
    ) as refusal:
        unfreeze(backbone, "mobilenetv3small", "top")
    assert "\n" not in str(refusal.value)
    # What it offers instead exists.
    offered = str(refusal.value).rsplit("'", 2)[1]
    assert unfreeze(backbone, "mobilenetv3small", offered) > 0


# --- weights --------------------------------------------------------------------------------------


def test_missing_weights_are_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent.weights.h5"
    with pytest.raises(WeightsError, match=rf"featurize\.weights: there is no file {absent}"):
        featurizer_of(featurize_params(weights=absent))


@pytest.mark.parametrize("name", ["damaged.weights.h5", "damaged.h5", "damaged.txt"])
def test_damaged_weights_are_named(tmp_path: Path, name: str) -> None:
    damaged = tmp_path / name
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(WeightsError, match=f"{damaged} cannot be loaded") as refusal:
        featurizer_of(featurize_params(weights=damaged))
    assert "\n" not in str(refusal.value)


#: What Keras calls the files for download, and where it looks up their digests.
KERAS_FILES = {
    "mobilenetv2": f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{IMAGE_SIZE}_no_top.h5",
    "mobilenetv3small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "efficientnetv2b0": "efficientnetv2-b0_notop.h5",
}
PLACES = {
    "mobilenetv2": "keras.src.applications.mobilenet_v2.BASE_WEIGHT_PATH",
    "mobilenetv3small": "keras.src.applications.mobilenet_v3.BASE_WEIGHT_PATH",
    "efficientnetv2b0": "keras.src.applications.efficientnet_v2.BASE_WEIGHTS_PATH",
}
DIGESTS = {
    "mobilenetv3small": ("mobilenet_v3", "small_224_1.0_float"),
    "efficientnetv2b0": ("efficientnet_v2", "b0"),
}


@pytest.fixture(
    scope="module", params=first_of("mobilenetv3small", "mobilenetv2", "efficientnetv2b0")
)
def published_as(request: pytest.FixtureRequest) -> str:
    """The architecture whose weights are for download."""
    return str(request.param)


@pytest.fixture(scope="module")
def original(published_as: str) -> keras.Model:
    """The network whose weights are for download."""
    import keras

    keras.utils.set_random_seed(11)
    build = {
        "mobilenetv2": keras.applications.MobileNetV2,
        "mobilenetv3small": keras.applications.MobileNetV3Small,
        "efficientnetv2b0": keras.applications.EfficientNetV2B0,
    }[published_as]
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    return build(input_shape=shape, include_top=False, weights=None, pooling="avg")


@pytest.fixture(scope="module")
def published(
    published_as: str, original: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The file of weights, in the format that Keras publishes."""
    file = tmp_path_factory.mktemp("published") / KERAS_FILES[published_as]
    original.save(file)
    return file.read_bytes()


@pytest.fixture
def download(
    published_as: str, published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileServer]:
    """A server of weights that redirects, as Keras' own does: `portal` to `store`."""

    def redirect(handler: Handler) -> None:
        handler.send(302, b"moved", Location=f"{server.store.url}{handler.path}")

    if published_as in DIGESTS:
        module, key = DIGESTS[published_as]
        digest = hashlib.md5(published, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(
            sys.modules[f"keras.src.applications.{module}"].WEIGHTS_HASHES, key, ("", digest)
        )
    # Keras reads KERAS_HOME once, when it is imported.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with FileServer(**{KERAS_FILES[published_as]: published}) as server:
        server.portal.will(redirect, redirect)
        monkeypatch.setattr(PLACES[published_as], f"{server.portal.url}/")
        yield server


def downloaded(architecture: str) -> keras.Model:
    from cracks.training.networks.architectures import build_backbone

    return build_backbone(featurize_params(architecture, "imagenet"))


def test_imagenet_weights_are_downloaded_once_and_loaded(
    published_as: str, download: FileServer, original: keras.Model
) -> None:
    for _ in range(2):
        backbone = downloaded(published_as)
        for loaded, expected in zip(backbone.get_weights(), original.get_weights(), strict=True):
            np.testing.assert_array_equal(loaded, expected)
    requests = [*download.portal.requests, *download.store.requests]
    assert [request.path for request in requests] == [f"/{KERAS_FILES[published_as]}"] * 2


@pytest.mark.parametrize("sent", [cut(0.5), page], ids=["half of it", "a page"])
def test_what_is_not_the_weights_is_refused_removed_and_downloaded_anew_the_next_time(
    published_as: str, download: FileServer, tmp_path: Path, sent: Fault
) -> None:
    download.store.will(sent)
    with pytest.raises(WeightsError, match=f"imagenet cannot be loaded into {published_as}") as no:
        downloaded(published_as)
    assert "\n" not in str(no.value)
    assert not list((tmp_path / "models").iterdir())
    downloaded(published_as)
    assert len(download.store.requests) == 2


def test_without_a_network_imagenet_weights_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import keras  # noqa: F401 (what is patched must have been imported)

    monkeypatch.setattr(PLACES["mobilenetv2"], "http://127.0.0.1:9/")
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match=r"imagenet cannot be loaded.*refused") as refusal:
        downloaded("mobilenetv2")
    assert "the network for `imagenet`" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "architecture", first_of("mobilenetv2", "mobilenetv3small", "efficientnetv2b0")
)
def test_a_file_of_weights_is_loaded_into_the_network_it_was_saved_from_and_no_other(
    tmp_path: Path, architecture: str
) -> None:
    from cracks.training.networks.architectures import _network_in, build_backbone

    params = featurize_params(architecture, image_size=32)
    saved = build_backbone(params)
    _network_in(saved).save_weights(tmp_path / "some.weights.h5")
    loaded = build_backbone(featurize_params(architecture, tmp_path / "some.weights.h5", 32))
    for one, other in zip(loaded.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    another = "mobilenetv3small" if architecture == "mobilenetv2" else "mobilenetv2"
    with pytest.raises(
        WeightsError, match=r"some\.weights\.h5 cannot be loaded into mobilenet"
    ) as refusal:
        build_backbone(featurize_params(another, tmp_path / "some.weights.h5", 32))
    assert "\n" not in str(refusal.value)


# --- varied patches -------------------------------------------------------------------------------

VARIED = AugmentParams(flip=True, transpose=True, brightness=0.2, contrast=0.3)
UNVARIED = AugmentParams(flip=False, transpose=False, brightness=0.0, contrast=0.0)


def varied(pixels: Pixels, params: AugmentParams, seed: int) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    from cracks.training.networks.augmentation import augmented

    return np.asarray(augmented(tf.constant(pixels), params, tf.constant([seed, 1])))


def test_a_varied_batch_keeps_its_shape_and_the_range_of_greys(pixels: Pixels) -> None:
    extremes = np.concatenate([pixels, np.zeros_like(pixels[:2]), np.full_like(pixels[:2], 255)])
    batch = varied(extremes, VARIED, seed=1)
    assert (batch.shape, batch.dtype) == (extremes.shape, np.float32)
    assert batch.min() >= 0
    assert batch.max() <= 255


def test_the_same_seed_varies_a_batch_the_same_way_and_another_one_otherwise(
    pixels: Pixels,
) -> None:
    first, again, other = (varied(pixels, VARIED, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    changed = np.abs(first - other).mean(axis=(1, 2, 3))
    assert (changed > 1).all(), changed


def test_the_patches_of_a_batch_are_varied_each_in_its_own_way(pixels: Pixels) -> None:
    same = np.repeat(pixels[:1], 12, axis=0)
    batch = varied(same, VARIED, seed=1)
    assert len({patch.tobytes() for patch in batch}) == len(batch)


def test_flips_and_the_transpose_give_all_eight_ways_to_lay_a_patch(pixels: Pixels) -> None:
    turned = AugmentParams(flip=True, transpose=True, brightness=0.0, contrast=0.0)
    batch = varied(np.repeat(pixels[:1], 100, axis=0), turned, seed=1)
    patch = pixels[0].astype(np.float32)
    ways = [np.rot90(side, turn) for side in (patch, patch[:, ::-1]) for turn in range(4)]
    nearest = [int(np.argmin([np.abs(one - way).max() for way in ways])) for one in batch]
    assert set(nearest) == set(range(8))
    for one, way in zip(batch, nearest, strict=True):
        np.testing.assert_allclose(one, ways[way], atol=1e-3)


def test_without_any_variation_a_batch_stays_as_it_is(pixels: Pixels) -> None:
    np.testing.assert_allclose(varied(pixels, UNVARIED, seed=1), pixels, atol=1e-3)


def test_keras_is_imported_without_what_is_unused_and_that_can_be_imported_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_AND_LATER],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
