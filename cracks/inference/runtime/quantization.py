"""Make an OpenVINO network compute in 8-bit integers: smaller, and faster where the CPU can."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cracks.errors import BundleError
from cracks.images.decode import Pixels
from cracks.inference.runtime.openvino_runtime import save_network
from cracks.system.atomic_files import remove

if TYPE_CHECKING:
    from openvino import Model, Node

#: Images from which the ranges of the activations are taken; NNCF's own default, too.
CALIBRATION_IMAGES: Final = 300

CONVOLUTIONS: Final = ("Convolution", "GroupConvolution")


def quantize(network: Path, target: Path, batches: Iterable[Pixels]) -> None:
    """Write an 8-bit copy of a network; weights and activations of its convolutions are rounded.

    What comes before the first convolution (cast, resizing, scaling) and the head that makes a
    score of the features stay in float32: they cost little and every later number rests on them.

    Args:
        network: OpenVINO IR (.xml, and .bin beside it), float32, from uint8 (n, size, size, 3).
        target: where the 8-bit IR goes, likewise .xml and .bin. The same network and images give
            the same bytes.
        batches: uint8 (n, size, size, 3) of training images; the first `CALIBRATION_IMAGES` count,
            so they should come in a mixed order.

    Raises:
        BundleError: there is no such network, it has no convolution, or there is no image.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, CVPR 2018, sections 2.1 and 3, carried out by NNCF.
    """
    import openvino

    images = list(islice((image[None] for batch in batches for image in batch), CALIBRATION_IMAGES))
    if not images:
        raise BundleError(f"{network} cannot be quantized without images to take the ranges from.")
    try:
        model = openvino.Core().read_model(network)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise BundleError(f"{network} is no network that OpenVINO can load: {reason}") from None
    _save(_quantized(model, images, network), target)


def _quantized(model: Model, images: list[Pixels], network: Path) -> Model:
    float_only = _before_convolutions(model)
    if len(float_only) == len(model.get_ops()):
        raise BundleError(f"{network} has no convolution, so there is nothing to quantize.")
    # No setting turns off NNCF's progress bars.
    with redirect_stdout(io.StringIO()):
        import nncf

        # Not `nncf.set_log_level`, which also mutes every handler that a caller has added.
        logging.getLogger("nncf").setLevel(logging.ERROR)
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            # Symmetric weights, asymmetric activations: those after a ReLU have no negative half.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=float_only, types=["MatMul"], validate=False),
        )


def _before_convolutions(model: Model) -> list[str]:
    """Return the names of the operations that no convolution comes before."""
    after: set[str] = set()
    names = []
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if node.get_type_name() in CONVOLUTIONS or after.intersection(_sources(node)):
            after.add(name)
        else:
            names.append(name)
    return names


def _sources(node: Node) -> list[str]:
    return [value.get_node().get_friendly_name() for value in node.input_values()]


def _save(model: Model, target: Path) -> None:
    # OpenVINO numbers nameless operations per process, so names depend on what it did before.
    for position, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result"):
            node.set_friendly_name(f"{node.get_type_name()}_{position}")
    # OpenVINO writes the weights beside the .xml, so both are made in a folder of their own.
    folder = target.parent / f".{target.stem}.quantizing"
    remove(folder)
    folder.mkdir(parents=True)
    try:
        save_network(model, folder / target.name)
        for suffix in (".bin", ".xml"):
            (folder / target.name).with_suffix(suffix).replace(target.with_suffix(suffix))
    finally:
        remove(folder)
