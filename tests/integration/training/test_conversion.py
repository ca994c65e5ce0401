"""Other formats: the same numbers as Keras, the same bytes each time, and no crash that spreads."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from processes import StartProcess

from cracks.errors import BundleError
from cracks.images.decode import Pixels, decode
from cracks.images.synthetic_canvas import PATCH_SIZE
from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.runtime.onnx_litert import RUNTIMES, Outputs, run_apart
from cracks.inference.runtime.quantization import quantize

if TYPE_CHECKING:
    import keras

    Write = Callable[[keras.Model, Path], None]

#: Formats round each of some hundred operations differently in the last of 24 bits.
TOLERANCE = 1e-4

FORMATS = [pytest.param(suffix, id=name) for suffix, (name, _) in RUNTIMES.items()]

CONVERT_ALOUD = """
import sys
from pathlib import Path
from cracks.system.environment import apply_environment_defaults
apply_environment_defaults()
from cracks.training.networks.startup import load_tensorflow
load_tensorflow()
from cracks.training.networks.conversion import write_litert, write_onnx
import keras
model = keras.saving.load_model(sys.argv[1], compile=False)
write_onnx(model, Path(sys.argv[2]))
write_litert(model, Path(sys.argv[3]))
"""


def writer_of(suffix: str) -> Write:
    from cracks.training.networks.conversion import write_litert, write_onnx

    return {".onnx": write_onnx, ".tflite": write_litert}[suffix]


def small_model() -> keras.Model:
    """Return a network of the kinds of layers in use, with two outputs that vary with the image."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(11)
    pixels = keras.Input((PATCH_SIZE, PATCH_SIZE, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1.0)(pixels)
    x = layers.Resizing(64, 64)(x)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(max_value=6)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2D(24, 1, activation="relu")(x)
    features = layers.GlobalMaxPooling2D()(x)
    kept = layers.Dropout(0.5)(features)
    # With ordinary random weights every score would be nearly the same.
    steep, middle = keras.initializers.RandomNormal(stddev=12, seed=2), 2.5
    score = layers.Dense(1, "sigmoid", True, steep, keras.initializers.Constant(middle))(kept)
    return keras.Model(pixels, {"score": score, "features": features})


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return small_model()


@pytest.fixture(scope="module")
def images() -> Pixels:
    return np.stack([decode(content)[0] for _, content in draw_sample(12, seed=5)])


@pytest.fixture(scope="module")
def expected(model: keras.Model, images: Pixels) -> Outputs:
    outputs = {name: np.asarray(rows) for name, rows in model(images, training=False).items()}
    assert np.ptp(outputs["score"]) > 0.2, "scores that are all the same would agree with anything"
    assert np.ptp(outputs["features"], axis=0).max() > 100 * TOLERANCE
    return outputs


@pytest.fixture(scope="module")
def files(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    paths = {suffix: folder / f"model{suffix}" for suffix in RUNTIMES}
    for suffix, path in paths.items():
        writer_of(suffix)(model, path)
    assert sorted(folder.iterdir()) == sorted(paths.values()), "something was left behind"
    return paths


# --- parity ---------------------------------------------------------------------------------------


@pytest.mark.kernels
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [1, 3])
def test_every_format_gives_what_keras_gives_in_batches_of_any_size(
    files: dict[str, Path], suffix: str, size: int, images: Pixels, expected: Outputs
) -> None:
    _, network = RUNTIMES[suffix]
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    rows = network(files[suffix]).run_all(batches)
    assert [len(row["score"]) for row in rows] == [size] * len(batches)
    for name, values in expected.items():
        together = np.concatenate([row[name] for row in rows])
        np.testing.assert_allclose(together, values, rtol=0, atol=TOLERANCE)


@pytest.mark.kernels
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_network_run_apart_gives_the_same(
    files: dict[str, Path], suffix: str, images: Pixels, expected: Outputs
) -> None:
    outputs = run_apart(files[suffix], images, batch_size=5)
    assert sorted(outputs) == ["features", "score"]
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, rtol=0, atol=TOLERANCE)


@pytest.mark.kernels
@pytest.mark.parametrize("size", [17, 64, 96, 112, 160, 224])
def test_images_are_resized_to_the_whole_pixel(size: int, images: Pixels, tmp_path: Path) -> None:
    # 227 · float32(64 / 227) is a little less than 64, which ONNX Runtime would cut off to 63.
    import keras
    from keras import layers

    pixels = keras.Input((PATCH_SIZE, PATCH_SIZE, 3), dtype="uint8")
    resized = layers.Resizing(size, size)(layers.Rescaling(1 / 127.5, offset=-1)(pixels))
    strongest = layers.GlobalMaxPooling2D()(layers.Conv2D(8, 3)(resized))
    resizing = keras.Model(pixels, {"score": strongest[:, :1], "features": strongest})
    writer_of(".onnx")(resizing, tmp_path / "model.onnx")
    (row,) = RUNTIMES[".onnx"][1](tmp_path / "model.onnx").run_all([images[:2]])
    expected = resizing(images[:2])["features"]
    np.testing.assert_allclose(row["features"], expected, rtol=0, atol=TOLERANCE)


# --- bytes and noise ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_model_converted_again_has_the_same_bytes(
    model: keras.Model, files: dict[str, Path], suffix: str, tmp_path: Path
) -> None:
    writer_of(suffix)(model, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == files[suffix].read_bytes()


def test_conversion_in_another_process_is_silent_and_gives_the_same_bytes(
    model: keras.Model, files: dict[str, Path], start: StartProcess, tmp_path: Path
) -> None:
    model.save(tmp_path / "model.keras")
    (tmp_path / "temporary").mkdir()
    targets = [tmp_path / f"other{suffix}" for suffix in RUNTIMES]
    process = start(
        [sys.executable, "-c", CONVERT_ALOUD, tmp_path / "model.keras", *targets],
        variables={"TMPDIR": str(tmp_path / "temporary")},
    )
    assert process.wait(120) == 0, process.log
    assert (process.stdout, process.stderr) == ("", "")
    left = {file.name for file in (tmp_path / "temporary").iterdir()}
    assert left <= {"__pycache__"}  # of code that TensorFlow makes whenever it runs Keras
    assert [t.read_bytes() for t in targets] == [file.read_bytes() for file in files.values()]


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [None, 0.0, 0.5], ids=["missing", "empty", "cut short"])
def test_a_damaged_network_is_refused_in_one_line_that_names_it(
    files: dict[str, Path], suffix: str, share: float | None, images: Pixels, tmp_path: Path
) -> None:
    damaged = tmp_path / f"damaged{suffix}"
    if share is not None:
        whole = files[suffix].read_bytes()
        damaged.write_bytes(whole[: int(len(whole) * share)])
    name, network = RUNTIMES[suffix]
    refusal = rf"damaged\{suffix} is no network that {name} can load"
    with pytest.raises(BundleError, match=refusal) as refused:
        network(damaged)
    assert "\n" not in str(refused.value)
    if share == 0.5:
        with pytest.raises(BundleError) as refused_apart:
            run_apart(damaged, images, batch_size=4)
        assert str(refused_apart.value) == str(refused.value)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("kill -ABRT $$", "LiteRT was ended by SIGABRT while computing the network: no kernel"),
        ("exit 9", "LiteRT failed with code 9 while computing the network: no kernel"),
    ],
)
def test_a_runtime_that_dies_of_a_network_does_not_take_its_caller_along(
    monkeypatch: pytest.MonkeyPatch, images: Pixels, tmp_path: Path, end: str, told: str
) -> None:
    dying = tmp_path / "dying"
    dying.write_text(f"#!/bin/sh\necho loading >&2; echo no kernel >&2; {end}\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(BundleError, match=told):
        run_apart(tmp_path / "model.tflite", images, batch_size=4)


def test_a_runtime_that_does_not_finish_is_given_up(files: dict[str, Path], images: Pixels) -> None:
    with pytest.raises(BundleError, match=r"ONNX Runtime did not finish in 0\.01 s"):
        run_apart(files[".onnx"], images, batch_size=4, timeout=0.01)


# --- 8 bits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ir(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    from cracks.training.networks.keras_files import convert_model

    path = tmp_path_factory.mktemp("network") / "model.xml"
    convert_model(keras.Model(model.input, model.output["features"]), path)
    return path


def features_of(network: Path, images: Pixels) -> np.ndarray:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(network, "CPU", settings)(images)[0]


@pytest.mark.kernels
def test_eight_bits_stay_near_and_the_same_images_give_the_same_bytes(
    ir: Path, images: Pixels, expected: Outputs, tmp_path: Path
) -> None:
    targets = [tmp_path / "first.xml", tmp_path / "second.xml"]
    for target in targets:
        quantize(ir, target, [images[:5], images[5:]])
    assert len(list(tmp_path.iterdir())) == 4
    for suffix in (".xml", ".bin"):
        first, second = (target.with_suffix(suffix).read_bytes() for target in targets)
        assert first == second
    assert b"FakeQuantize" in targets[0].read_bytes()
    difference = np.abs(features_of(targets[0], images) - expected["features"])
    # Measured: 0.03 of the range in the mean, 0.35 at most, of a network that nobody trained.
    assert 0 < difference.max() < 0.5 * np.ptp(expected["features"])
    assert difference.mean() < 0.1 * np.ptp(expected["features"])


def test_eight_bits_leave_the_preprocessing_in_full_precision(
    ir: Path, images: Pixels, tmp_path: Path
) -> None:
    import openvino

    quantize(ir, tmp_path / "model.xml", [images])
    nodes = openvino.Core().read_model(tmp_path / "model.xml").get_ordered_ops()
    kinds = [node.get_type_name() for node in nodes]
    (resizing,) = (node for node in nodes if node.get_type_name() == "Interpolate")
    assert resizing.input_value(0).get_node().get_type_name() != "FakeQuantize"
    assert kinds.index("FakeQuantize") < kinds.index("Convolution")
    assert kinds.count("FakeQuantize") >= 3


def test_quantization_mutes_no_log_but_its_library_s(
    ir: Path, images: Pixels, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = logging.getLogger("nncf")
    library.addHandler(caplog.handler)
    quantize(ir, tmp_path / "model.xml", [images])
    library.removeHandler(caplog.handler)
    logging.getLogger("cracks").warning("heard")
    assert caplog.messages == ["heard"]


def test_nothing_is_quantized_without_images_or_without_a_network(
    ir: Path, images: Pixels, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="without images"):
        quantize(ir, tmp_path / "model.xml", [])
    (tmp_path / "damaged.xml").write_text("<net")
    with pytest.raises(BundleError, match=r"damaged\.xml is no network that OpenVINO can load"):
        quantize(tmp_path / "damaged.xml", tmp_path / "model.xml", [images])
    assert [file.name for file in tmp_path.iterdir()] == ["damaged.xml"]
