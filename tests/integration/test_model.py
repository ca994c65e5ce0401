"""The networks in real Keras and TensorFlow: storage, conversion, weights, and training again."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from processes import CHECKOUT, StartProcess, wait_until

from cracks.environment import settle_environment
from cracks.errors import WeightsError, WorkspaceError
from cracks.images import Pixels, decode
from cracks.params import AugmentParams, FeaturizeParams
from cracks.runtime import Network
from cracks.sample import PATCH_SIZE, draw_sample

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.integration

SHARED_WEIGHTS = Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared")) / "weights"
WEIGHTS = SHARED_WEIGHTS / "mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"
WEIGHTS_OF_ANOTHER = SHARED_WEIGHTS / "mobilenet_2_5_224_tf_no_top.h5"

#: One of the sizes for which Keras has weights of its own.
IMAGE_SIZE = 96
KERAS_FILE = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{IMAGE_SIZE}_no_top.h5"


def needs(file: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not file.is_file(), reason=f"{file.name} lies on few machines only")


def featurize_params(
    architecture: str = "mobilenetv2", weights: str | Path = "none", image_size: int = IMAGE_SIZE
) -> FeaturizeParams:
    return FeaturizeParams.model_validate(
        {
            "architecture": architecture,
            "weights": str(weights),
            "image_size": image_size,
            "batch_size": 4,
        }
    )


def featurizer_of(params: FeaturizeParams) -> keras.Model:
    from cracks.model.architectures import build_featurizer
    from cracks.model.reproducibility import make_reproducible

    make_reproducible(0)
    return build_featurizer(params, PATCH_SIZE)


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle_environment()


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.stack([decode(content)[0] for _, content in draw_sample(12, seed=5)])


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    return small_classifier()


def small_classifier() -> keras.Model:
    from cracks.model.architectures import build_classifier, build_trainable

    params = featurize_params("cnn", image_size=32)
    return build_classifier(featurizer_of(params), build_trainable(params, 0.2))


# --- storage --------------------------------------------------------------------------------------


def test_the_same_model_built_and_saved_later_has_the_same_bytes(tmp_path: Path) -> None:
    import keras

    from cracks.model.storage import save_model

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
    from cracks.model.storage import load_model, save_model

    save_model(classifier, tmp_path / "first.keras")
    changed = load_model(tmp_path / "first.keras")
    kernel, *others = changed.get_weights()
    changed.set_weights([kernel + 1e-6, *others])
    save_model(changed, tmp_path / "second.keras")
    first, second = ((tmp_path / f"{name}.keras").read_bytes() for name in ("first", "second"))
    assert first != second


def test_a_saved_model_scores_raw_pixels_as_before(
    classifier: keras.Model, pixels: Pixels, tmp_path: Path
) -> None:
    from cracks.model.storage import load_model, save_model
    from cracks.model.training import score

    save_model(classifier, tmp_path / "classifier.keras")
    before = score(classifier, pixels)
    assert before.std() > 1e-4
    np.testing.assert_array_equal(score(load_model(tmp_path / "classifier.keras"), pixels), before)


def test_saving_leaves_nothing_but_the_model(classifier: keras.Model, tmp_path: Path) -> None:
    from cracks.model.storage import save_model

    save_model(classifier, tmp_path / "models/classifier.keras")
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["classifier.keras"]


def test_a_model_that_carries_python_code_is_refused(tmp_path: Path) -> None:
    import keras

    from cracks.model.storage import load_model

    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(tmp_path / "code.keras")
    with pytest.raises(WorkspaceError, match=r"code\.keras cannot be loaded"):
        load_model(tmp_path / "code.keras")


@pytest.mark.parametrize("share", [None, 0.0, 0.5, 0.98], ids=["missing", "empty", "half", "cut"])
def test_a_model_that_is_missing_or_damaged_is_refused_by_its_name(
    classifier: keras.Model, tmp_path: Path, share: float | None
) -> None:
    from cracks.model.storage import load_model, save_model

    damaged = tmp_path / "damaged.keras"
    if share is not None:
        save_model(classifier, damaged)
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WorkspaceError, match=rf"{damaged} cannot be loaded .*`dvc repro`"):
        load_model(damaged)


# --- the same numbers in Keras and in OpenVINO ----------------------------------------------------


def features_in_both(
    params: FeaturizeParams, pixels: Pixels, folder: Path
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from cracks.model.storage import convert_model

    featurizer = featurizer_of(params)
    convert_model(featurizer, folder / "featurizer.xml")
    batches = [pixels[:5], pixels[5:]]
    converted = np.concatenate(Network(folder / "featurizer.xml").run_all(batches))
    return np.asarray(featurizer.predict_on_batch(pixels)), converted


def spread(features: np.ndarray[Any, Any]) -> float:
    """Return how far the features of different images lie apart."""
    return float(features.std(axis=0).max())


@needs(WEIGHTS)
def test_a_backbone_gives_the_same_features_in_openvino(pixels: Pixels, tmp_path: Path) -> None:
    in_keras, converted = features_in_both(featurize_params(weights=WEIGHTS), pixels, tmp_path)
    assert converted.shape == in_keras.shape == (len(pixels), 1280)
    # Next to the differences between images, or constant features would pass.
    assert np.abs(converted - in_keras).max() < 1e-3 * spread(in_keras)


@needs(WEIGHTS)
def test_a_trained_backbone_tells_images_apart(pixels: Pixels) -> None:
    features = featurizer_of(featurize_params(weights=WEIGHTS)).predict_on_batch(pixels)
    assert spread(features) > 0.1


def test_a_frozen_backbone_needs_weights() -> None:
    with pytest.raises(WeightsError, match="without weights there is nothing to learn from"):
        featurizer_of(featurize_params(weights="none"))


@pytest.mark.parametrize("image_size", [32, 112])
def test_the_pixels_that_the_small_network_learns_from_are_whole_and_the_same_in_openvino(
    pixels: Pixels, tmp_path: Path, image_size: int
) -> None:
    params = featurize_params("cnn", image_size=image_size)
    in_keras, converted = features_in_both(params, pixels, tmp_path)
    assert converted.shape == in_keras.shape == (len(pixels), image_size, image_size, 3)
    np.testing.assert_array_equal(converted, converted.astype(np.uint8))
    assert spread(in_keras) > 10
    # A value half-way between two greys may be rounded either way.
    difference = np.abs(converted - in_keras)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_a_classifier_gives_the_same_scores_in_openvino(
    classifier: keras.Model, pixels: Pixels, tmp_path: Path
) -> None:
    from cracks.model.storage import convert_model
    from cracks.model.training import score

    convert_model(classifier, tmp_path / "model.xml")
    (converted,) = Network(tmp_path / "model.xml").run_all([pixels])
    in_keras = score(classifier, pixels)
    assert in_keras.std() > 3e-3
    assert converted[:, 0] == pytest.approx(in_keras, abs=1e-3)


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["imagenet", "somewhere/weights.h5"])
def test_a_network_trained_from_scratch_takes_no_weights(weights: str) -> None:
    with pytest.raises(WeightsError, match=rf"cnn .* takes no weights, not '{weights}'"):
        featurizer_of(featurize_params("cnn", weights))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent.weights.h5"
    with pytest.raises(WeightsError, match=rf"featurize\.weights: there is no file {absent}"):
        featurizer_of(featurize_params(weights=absent))


@needs(WEIGHTS_OF_ANOTHER)
def test_the_weights_of_another_architecture_are_named() -> None:
    with pytest.raises(WeightsError, match=rf"{WEIGHTS_OF_ANOTHER} cannot be loaded into mobilen"):
        featurizer_of(featurize_params(weights=WEIGHTS_OF_ANOTHER))


@pytest.mark.parametrize("name", ["damaged.weights.h5", "damaged.h5", "damaged.txt"])
def test_damaged_weights_are_named(tmp_path: Path, name: str) -> None:
    damaged = tmp_path / name
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(WeightsError, match=f"{damaged} cannot be loaded") as refusal:
        featurizer_of(featurize_params(weights=damaged))
    assert "\n" not in str(refusal.value)


@dataclass
class Download:
    """A server of weights that redirects, as Keras' own does, and says what `answer` gives."""

    url: str
    answer: Callable[[bytes], bytes] = lambda content: content
    promised: int | None = None  # bytes; None for what is really sent
    served: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    """The backbone whose weights are for download."""
    import keras

    keras.utils.set_random_seed(11)
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    return keras.applications.MobileNetV2(shape, include_top=False, weights=None, pooling="avg")


@pytest.fixture(scope="module")
def published(original: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of weights, in the format that Keras publishes."""
    file = tmp_path_factory.mktemp("published") / KERAS_FILE
    original.save(file)
    return file.read_bytes()


@pytest.fixture
def download(
    published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Download]:
    class Handler(BaseHTTPRequestHandler):
        download: ClassVar[Download]

        def do_GET(self) -> None:
            self.download.served.append(self.path)
            if self.path == f"/weights/{KERAS_FILE}":
                self.send_response(302)
                self.send_header("Location", f"/elsewhere/{KERAS_FILE}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = self.download.answer(published)
            self.send_response(200)
            self.send_header("Content-Length", str(self.download.promised or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.download = Download(f"http://127.0.0.1:{server.server_port}/weights/")
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    monkeypatch.setattr(
        "keras.src.applications.mobilenet_v2.BASE_WEIGHT_PATH", Handler.download.url
    )
    # Keras reads KERAS_HOME once, when it is imported.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    yield Handler.download
    server.shutdown()
    server.server_close()
    serving.join(10)


def backbone_weights(featurizer: keras.Model) -> list[np.ndarray[Any, Any]]:
    weights: list[np.ndarray[Any, Any]] = featurizer.layers[-1].get_weights()
    return weights


def test_imagenet_weights_are_downloaded_once_and_loaded(
    download: Download, original: keras.Model
) -> None:
    for _ in range(2):
        featurizer = featurizer_of(featurize_params(weights="imagenet"))
        for loaded, expected in zip(
            backbone_weights(featurizer), original.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(loaded, expected)
    assert download.served == [f"/weights/{KERAS_FILE}", f"/elsewhere/{KERAS_FILE}"]


def test_a_download_that_breaks_off_is_refused_and_begun_anew_the_next_time(
    download: Download, published: bytes
) -> None:
    download.answer = lambda content: content[: len(content) // 2]
    download.promised = len(published)
    with pytest.raises(WeightsError, match="imagenet cannot be loaded into mobilenetv2"):
        featurizer_of(featurize_params(weights="imagenet"))

    download.answer, download.promised = (lambda content: content), None
    featurizer_of(featurize_params(weights="imagenet"))
    assert len(download.served) == 4


def test_a_page_in_place_of_the_weights_is_refused_and_not_used_the_next_time(
    download: Download,
) -> None:
    download.answer = lambda _: b"<html>Please log in to this network.</html>"
    with pytest.raises(WeightsError, match="imagenet cannot be loaded into mobilenetv2"):
        featurizer_of(featurize_params(weights="imagenet"))

    download.answer = lambda content: content
    featurizer_of(featurize_params(weights="imagenet"))


def test_without_a_network_imagenet_weights_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import keras  # noqa: F401 (what is patched must have been imported)

    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setattr("keras.src.applications.mobilenet_v2.BASE_WEIGHT_PATH", nowhere)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match=r"imagenet cannot be loaded.*refused") as refusal:
        featurizer_of(featurize_params(weights="imagenet"))
    assert "the network for `imagenet`" in str(refusal.value)
    assert "\n" not in str(refusal.value)


# --- training -------------------------------------------------------------------------------------

TRAIN_ONCE = """
import hashlib, json, sys
from pathlib import Path

import numpy as np
from cracks.environment import settle_environment
settle_environment()
from cracks.images import decode_to_size
from cracks.model.architectures import build_classifier, build_featurizer, build_trainable
from cracks.model.storage import save_model
from cracks.model.reproducibility import make_reproducible
from cracks.model.training import Examples, fit
from cracks.params import load_params
from cracks.sample import draw_sample

folder, params = Path(sys.argv[1]), load_params(Path(sys.argv[2]))
featurize = params.featurize.model_copy(update={"image_size": 32})
settings = params.train.model_copy(update={"epochs": 3, "batch_size": 8})

def digest(model):
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()

names, contents = zip(*draw_sample(48, seed=3))
features = np.stack([decode_to_size(content, 32) for content in contents])
labels = np.array([name.startswith("Positive") for name in names], np.float32)
make_reproducible(settings.seed)
trainable = build_trainable(featurize, settings.dropout)
before = digest(trainable)
train, held_out = (Examples(features[i::2], labels[i::2]) for i in (0, 1))
history = fit(trainable, train, held_out, settings, settings.augment, folder / "logs")
save_model(build_classifier(build_featurizer(featurize, 227), trainable), folder / "model.keras")
print(json.dumps({"before": before, "after": digest(trainable), "history": history}))
"""


def test_training_again_gives_equal_weights_and_equal_bytes(
    start: StartProcess, tmp_path: Path
) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    trainings = []
    for folder in folders:
        folder.mkdir()
        command = [sys.executable, "-c", TRAIN_ONCE, str(folder), str(CHECKOUT / "params.yaml")]
        trainings.append(start(command))
    for training in trainings:
        assert training.wait(120) == 0, training.log
    first, second = (json.loads(training.stdout) for training in trainings)
    assert first == second
    assert first["before"] != first["after"], "nothing was learned"
    assert len(first["history"]) == 3
    digests = {hashlib.sha256((f / "model.keras").read_bytes()).hexdigest() for f in folders}
    assert len(digests) == 1


VARIED = AugmentParams(flip=True, transpose=True, brightness=0.2, contrast=0.3)
UNVARIED = AugmentParams(flip=False, transpose=False, brightness=0.0, contrast=0.0)


def varied(pixels: Pixels, params: AugmentParams, seed: int) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    from cracks.model.training import augmented

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
