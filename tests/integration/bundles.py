"""Small bundles whose score is known beforehand: the brightness of the image, times a factor."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from cracks.bundle import Bundle, seal_bundle
from cracks.handover import Champion, name_champion, stage_bundle
from cracks.labels import LABELS

PATCH_SIZE = 227


def write_network(model: Path, factor: float = 1.0, size: int = PATCH_SIZE) -> None:
    """Write a network, uint8 (n, size, size, 3) to (n, 1): mean grey value / 255 × `factor`."""
    import openvino
    from openvino import opset13

    pixels = opset13.parameter([-1, size, size, 3], np.uint8, name="image")
    floats = opset13.convert(pixels, "f32")
    mean = opset13.reduce_mean(floats, opset13.constant([1, 2, 3]), keep_dims=False)
    scaled = opset13.multiply(mean, opset13.constant(np.float32(factor / 255)))
    score = opset13.unsqueeze(scaled, opset13.constant([1]))
    openvino.save_model(openvino.Model([score], [pixels]), model, compress_to_fp16=False)


def make_bundle(folder: Path, factor: float = 1.0, size: int = PATCH_SIZE) -> Bundle:
    """Return a sealed bundle in the new folder `folder`, with a threshold of one half."""
    folder.mkdir(parents=True)
    write_network(folder / "model.xml", factor, size)
    content = {
        "labels": LABELS,
        "patch_size": size,
        "threshold": 0.5,
        "architecture": "brightness",
        "lineage": {"source": "sample", "source_digest": "0" * 64},
        "metrics": {"test.accuracy": 0.75, "test.recall": 0.5},
    }
    return seal_bundle(folder, content)


def champion_of(bundle: Bundle, version: str, name: str) -> Champion:
    """Return the champion of a version, with `run-VERSION` as its run."""
    return Champion(
        model_name="brightness",
        version=version,
        run_id=f"run-{version}",
        bundle=name,
        bundle_digest=bundle.digest,
        promoted_at="2026-11-21T08:00:00+00:00",
    )


def hand_over(service: Path, bundle: Bundle, version: str) -> Champion:
    """Put a bundle into service as promotion does."""
    champion = champion_of(bundle, version, stage_bundle(service, bundle, version))
    name_champion(service, champion)
    return champion


def grey_image(value: int, image_format: str = "PNG", size: int = PATCH_SIZE) -> bytes:
    """Return an image of a single grey."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(stream, image_format)
    return stream.getvalue()
