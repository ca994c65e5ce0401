"""Save a Keras model so that equal weights give equal bytes, load it safely, and convert it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from cracks.errors import WorkspaceError
from cracks.inference.runtime.openvino_runtime import save_network
from cracks.system.atomic_files import atomic_replace

#: The oldest time a zip archive can hold; any fixed one would do.
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def save_model(model: keras.Model, path: Path) -> None:
    """Write `model` as a .keras file whose bytes depend on the model alone.

    Keras writes the date of saving into the archive, which would make every training look new.
    """
    dated = path.with_name(f".dated-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save(dated)
        with atomic_replace(path) as partial:
            _without_dates(dated, partial)
    finally:
        dated.unlink(missing_ok=True)


def _without_dates(dated: Path, undated: Path) -> None:
    with zipfile.ZipFile(dated) as source, zipfile.ZipFile(undated, "w") as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "config.json":
                content = json.dumps(_without_addresses(json.loads(content))).encode()
            if name == "metadata.json":
                content = json.dumps(json.loads(content) | {"date_saved": ""}).encode()
            target.writestr(zipfile.ZipInfo(name, FIXED_TIME), content)


def _without_addresses(config: Any) -> Any:
    # Keras writes the memory address of each shared object, which differs in every process.
    if isinstance(config, dict):
        return {k: _without_addresses(v) for k, v in config.items() if k != "shared_object_id"}
    if isinstance(config, list):
        return [_without_addresses(v) for v in config]
    return config


def load_model(path: Path) -> keras.Model:
    """Return the model saved at `path`; nothing in the file is executed.

    Raises:
        WorkspaceError: there is none, or it is damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise WorkspaceError(f"{path} cannot be loaded ({reason}). Run `dvc repro`.") from error


def convert_model(model: keras.Model, path: Path) -> None:
    """Write `model` as OpenVINO IR (`path` .xml, and .bin beside it), float32, for inference.

    A model with several named outputs keeps their names; the only one of another is `features`.
    Keras' own exporter traces dropout as if training, which OpenVINO cannot convert.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    import openvino
    import tensorflow as tf

    def predict(given: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(given, training=False)
        return outputs if isinstance(outputs, dict) else {"features": outputs}

    given = model.inputs[0]
    spec = tf.TensorSpec((None, *given.shape[1:]), given.dtype, name="given")
    converted = openvino.convert_model(tf.function(predict, [spec]).get_concrete_function())
    # TensorFlow sorts the outputs by name; OpenVINO forgets the name of one that is only passed on.
    names = sorted(model.output) if isinstance(model.output, dict) else ["features"]
    for output, name in zip(converted.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    save_network(converted, path)


def summary_of(model: keras.Model) -> str:
    """Return the layers, shapes and parameter counts of a model as a text table."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, *_, **__: lines.append(line), expand_nested=True)
    return "\n".join(lines) + "\n"


def layers_of(model: keras.Model) -> list[tuple[str, str, str, int]]:
    """Return name, kind, output shape and parameter count of each layer, in order."""
    return [
        (layer.name, type(layer).__name__, _shape(layer), layer.count_params())
        for layer in model.layers
    ]


def _shape(layer: keras.Layer) -> str:
    shape = layer.output.shape
    return " × ".join("n" if size is None else str(size) for size in shape)
