"""Write a Keras model for runtimes other than OpenVINO: ONNX and LiteRT (once TensorFlow Lite)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np
import tensorflow as tf

from cracks.system.atomic_files import atomic_replace
from cracks.training.networks.architectures import build_classifier
from cracks.training.networks.keras_files import load_model

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: What the outputs are called in every format, in order.
OUTPUTS: Final = ("score", "features")

#: Fixed, so that a newer converter does not change what a runtime must support.
ONNX_OPSET: Final = 18

#: The name of the free dimension.
BATCH: Final = "n"


def write_formats(featurizer: Path, trainable: Path, files: Mapping[str, Path]) -> None:
    """Write the classifier, from the Keras files of its halves, by format: "onnx", "litert"."""
    classifier = build_classifier(load_model(featurizer), load_model(trainable))
    for name, file in files.items():
        {"onnx": write_onnx, "litert": write_litert}[name](classifier, file)


def write_onnx(model: keras.Model, path: Path) -> None:
    """Write `model` as ONNX, float32, for inference; the same model gives the same bytes.

    Args:
        model: uint8 (n, size, size, 3) to `OUTPUTS` by name.
        path: a file .onnx, whose input is called "image"; n is free.
    """
    import tf2onnx

    function = _inference_function(model)
    with _silent("tf2onnx"):
        converted, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=ONNX_OPSET
        )
    _resize_to_sizes(converted)
    _normalise(converted)
    with atomic_replace(path) as partial:
        partial.write_bytes(converted.SerializeToString(deterministic=True))


def write_litert(model: keras.Model, path: Path) -> None:
    """Write `model` as a LiteRT file, float32, for inference; the same model gives the same bytes.

    Args:
        model: uint8 (n, size, size, 3) to `OUTPUTS` by name.
        path: a file .tflite with one signature, whose input is called "image"; n is free.
    """
    function = _inference_function(model)
    module = tf.Module()
    # Dropout's seed is not computed with, but is part of the function, and so must be saved too.
    module.kept = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder, _silent("absl", "tensorflow"):
        tf.saved_model.save(module, folder, signatures=function.get_concrete_function())
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    with atomic_replace(path) as partial:
        partial.write_bytes(content)


def _inference_function(model: keras.Model) -> Any:
    """Return a TensorFlow function with named outputs; in training mode dropout would be traced."""

    def infer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(image, training=False)
        return {name: outputs[name] for name in OUTPUTS}

    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")
    return tf.function(infer, input_signature=[spec], autograph=False)


def _resize_to_sizes(converted: ModelProto) -> None:
    """Say of each resizing how large the result is, where tf2onnx gives a factor in float32.

    227 pixels times 64 / 227 come to 63.99999, and ONNX Runtime cuts that off to 63.
    """
    from onnx import helper, numpy_helper, shape_inference

    graph = shape_inference.infer_shapes(converted).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
    weights = {one.name: one for one in converted.graph.initializer}
    for node in [node for node in converted.graph.node if node.op_type == "Resize"]:
        factors = numpy_helper.to_array(weights[node.input[2]])[2:]
        if not len(factors):
            continue  # the sizes are already given
        sides = [dim.dim_value for dim in shapes[node.input[0]][2:]]
        sizes = np.rint(np.multiply(sides, factors, dtype=np.float64)).astype(np.int64)
        name = f"{node.name}_sizes"
        converted.graph.initializer.append(numpy_helper.from_array(sizes, name))
        node.input[:] = [node.input[0], "", "", name]
        node.attribute.append(helper.make_attribute("axes", [2, 3]))


def _normalise(converted: ModelProto) -> None:
    """Name everything inside by its place, and put outputs and weights in a fixed order.

    tf2onnx numbers its nodes through the life of a process, and names what two
    layers share after either of them.
    """
    graph = converted.graph
    graph.doc_string = ""  # the number of the function
    kept = {value.name for value in [*graph.input, *graph.output]}
    names: dict[str, str] = {"": ""} | {name: name for name in kept}

    def place_of(old: str) -> str:
        return names.setdefault(old, f"value_{len(names)}")

    for position, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{position}", ""
        _rename(node, place_of)
    weights_in_use = [weights for weights in graph.initializer if weights.name in names]
    for weights in weights_in_use:
        weights.name = names[weights.name]
    weights_in_order = sorted(weights_in_use, key=lambda weights: int(weights.name[6:]))
    outputs_in_order = sorted(graph.output, key=lambda output: OUTPUTS.index(output.name))
    _refill(graph.initializer, weights_in_order)
    _refill(graph.output, outputs_in_order)
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH


def _rename(node: NodeProto, place_of: Callable[[str], str]) -> None:
    node.input[:] = [place_of(name) for name in node.input]
    node.output[:] = [place_of(name) for name in node.output]


def _refill(field: Any, values: list[Any]) -> None:
    copies = [type(value)() for value in values]
    for copy, value in zip(copies, values, strict=True):
        copy.CopyFrom(value)
    del field[:]
    field.extend(copies)


@contextmanager
def _silent(*loggers: str) -> Iterator[None]:
    """Let only errors through from the named loggers, which log every step."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
