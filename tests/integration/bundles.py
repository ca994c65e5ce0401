"""Small bundles of known predictions: brightness is the score, colour is novel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cracks.dataset.labels import LABELS
from cracks.inference.bundle.bundle import GOLDEN, NOVELTY, Bundle, seal_bundle
from cracks.inference.bundle.golden_patches import GoldenPatches, write_golden
from cracks.inference.bundle.novelty import fit_novelty
from cracks.inference.handover.champion import Champion, name_champion, stage_bundle
from tests.unit.builders import champion_of, encoded

PATCH_SIZE = 227

#: Of a photograph, and its bright place: left, top, right, bottom in pixels.
WIDTH, HEIGHT, BRIGHT = 640, 480, (300, 120, 460, 280)


def write_network(model: Path, factor: float = 1.0, size: int = PATCH_SIZE) -> None:
    """Write a network from uint8 (n, size, size, 3) to `score` and `features`.

    The score (n, 1) is the mean grey value / 255 × `factor`; the features (n, 3) are the means of
    red, green and blue.
    """
    import openvino
    from openvino import opset13

    pixels = opset13.parameter([-1, size, size, 3], np.uint8, name="image")
    floats = opset13.convert(pixels, "f32")
    mean = opset13.reduce_mean(floats, opset13.constant([1, 2, 3]), keep_dims=False)
    scaled = opset13.multiply(mean, opset13.constant(np.float32(factor / 255)))
    column = opset13.unsqueeze(scaled, opset13.constant([1]))
    colours = opset13.reduce_mean(floats, opset13.constant([1, 2]), keep_dims=False)
    network = openvino.Model([colours, column], [pixels])
    for output, name in zip(network.outputs, ("features", "score"), strict=True):
        output.get_tensor().set_names({name})
    openvino.save_model(network, model, compress_to_fp16=False)


def write_network_of_format_1(model: Path, size: int = PATCH_SIZE) -> None:
    """Write a network as it was before features were given: one output, which is the score."""
    import openvino

    write_network(model, size=size)
    whole = openvino.Core().read_model(model)
    score = whole.output("score").get_node().input_value(0)
    score.get_tensor().set_names({"output"})
    only = openvino.Model([score], whole.get_parameters())
    # Over a file that is still mapped nothing can be written.
    openvino.save_model(only, model.with_name("one.xml"), compress_to_fp16=False)
    del whole, only, score
    for suffix in (".xml", ".bin"):
        model.with_name("one.xml").with_suffix(suffix).replace(model.with_suffix(suffix))


def write_novelty(folder: Path) -> None:
    """Write what tells colourful images from the grey ones that were trained on."""
    rng = np.random.default_rng(5)
    grey = rng.uniform(30, 225, (400, 1)) * (1 + rng.normal(0, 0.01, (400, 3)))
    train, held_out = np.float32(grey[:300]), np.float32(grey[300:])
    fit_novelty(train, held_out).save(folder / NOVELTY)


def make_bundle(
    folder: Path,
    factor: float = 1.0,
    size: int = PATCH_SIZE,
    *,
    novelty: bool = False,
    golden: GoldenPatches | None = None,
    **changes: Any,
) -> Bundle:
    """Return a sealed bundle in the new folder `folder`, with a threshold of one half."""
    folder.mkdir(parents=True)
    write_network(folder / "model.xml", factor, size)
    if novelty:
        write_novelty(folder)
    if golden:
        write_golden(golden, folder / GOLDEN)
    content = {
        "labels": LABELS,
        "patch_size": size,
        "threshold": 0.5,
        "architecture": "brightness",
        "lineage": {"source": "sample", "source_digest": "0" * 64},
        "metrics": {"test.accuracy": 0.75, "test.recall": 0.5},
    }
    return seal_bundle(folder, content | changes)


def hand_over(service: Path, bundle: Bundle, version: str) -> Champion:
    """Put a bundle into service as promotion does."""
    champion = champion_of(version, bundle.digest, stage_bundle(service, bundle, version))
    name_champion(service, champion)
    return champion


def service_folder(place: Path, **options: Any) -> Path:
    """Return the service folder in `place`, with a bundle of `make_bundle` as version 1."""
    hand_over(place / "service", make_bundle(place / "v1", **options), "1")
    return place / "service"


def grey_image(value: int, image_format: str = "PNG", size: int = PATCH_SIZE) -> bytes:
    """Return an image of a single grey."""
    return plain_image((value, value, value), image_format, size)


def plain_image(
    colour: tuple[int, int, int], image_format: str = "PNG", size: int = PATCH_SIZE
) -> bytes:
    """Return an image of a single colour."""
    return encoded(Image.new("RGB", (size, size), colour), image_format)


def photograph(
    image_format: str = "PNG",
    ground: tuple[int, int, int] = (60, 60, 60),
    turned: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:
    """Return a dark photograph; `turned` as a camera stores it that was held on its side."""
    image = Image.new("RGB", size, ground)
    image.paste((225, 225, 225), BRIGHT)
    exif = Image.Exif()
    if turned:
        image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
    return encoded(image, image_format, **({"exif": exif} if turned else {}))
