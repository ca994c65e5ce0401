"""Small things to test with: pictures, parameters, tables, bundles."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from cracks.bundle import Bundle, seal_bundle
from cracks.labels import LABELS
from cracks.params import IngestParams, SampleParams

ROOT = Path(__file__).parents[2]


def picture(seed: int = 0, *, size: int = 32, mode: str = "RGB", format_: str = "JPEG") -> bytes:
    """Return the file of a noisy picture."""
    noise = np.random.default_rng(seed).integers(60, 200, (size, size, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise).convert(mode), format_)


def encoded(image: Image.Image, format_: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, format_)
    return file.getvalue()


def ingest_params(
    source: str | Path = "sample", *, patches: int = 4, seed: int = 1
) -> IngestParams:
    return IngestParams(
        source=str(source),
        patch_size=32,
        shard_rows=3,
        sample=SampleParams(patches=patches, seed=seed),
    )


def manifest_of(label_of: Mapping[str, str]) -> pa.Table:
    return pa.table({"id": list(label_of), "label": list(label_of.values())})


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def sealed_bundle(folder: Path, weights: bytes = b"weights", **changes: Any) -> Bundle:
    """Return a whole bundle whose network is no network: nothing here computes with it."""
    write_files(folder, {"model.xml": b"<net/>", "model.bin": weights})
    content = {
        "labels": LABELS,
        "patch_size": 32,
        "threshold": 0.5,
        "architecture": "cnn",
        "lineage": {"source": "sample"},
        "metrics": {"test.accuracy": 0.99},
    }
    return seal_bundle(folder, content | changes)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every path below `folder`, with the content of the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
