"""Small things to test with: pictures, parameters, tables, bundles."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from cracks.dataset.labels import LABELS
from cracks.dataset.shards import ShardPosition, shard_name
from cracks.dataset.split.grouping import Likeness
from cracks.dataset.split.lookalikes import COMPARED
from cracks.dataset.split.weak_ties import Photographs
from cracks.inference.bundle.bundle import Bundle, seal_bundle
from cracks.inference.handover.champion import Champion
from cracks.registry.ledger import Entry, following
from cracks.workspace.params import IngestParams, Params, SampleParams
from cracks.workspace.params_file import load_params

ROOT = Path(__file__).parents[2]


def picture(seed: int = 0, *, size: int = 32, mode: str = "RGB", format_: str = "JPEG") -> bytes:
    """Return the file of a noisy picture."""
    noise = np.random.default_rng(seed).integers(60, 200, (size, size, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise).convert(mode), format_)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def surface(seed: int, *, size: int = 227) -> npt.NDArray[np.uint8]:
    """Return the grey pixels of a surface that no other seed has."""
    noise = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    waves = cv2.GaussianBlur(noise, (0, 0), 9) * 9 + cv2.GaussianBlur(noise, (0, 0), 2)
    scaled = 130 + 20 * (waves - waves.mean()) / waves.std()
    return np.asarray(np.clip(scaled, 0, 255).round(), np.uint8)


def compared(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a grey patch in the size in which look-alikes are compared."""
    return np.asarray(cv2.resize(grey, (COMPARED, COMPARED), interpolation=cv2.INTER_AREA))


def saved(grey: npt.NDArray[np.uint8], format_: str = "PNG", **options: Any) -> bytes:
    """Return the file of a colour picture with equal channels."""
    image = Image.fromarray(np.ascontiguousarray(grey)).convert("RGB")
    return encoded(image, format_, **options)


def likeness_of(label_of: Mapping[str, str], links: Iterable[tuple[str, str]] = ()) -> Likeness:
    """Return patches of which the linked ones show one photograph, one file each."""
    ids = sorted(label_of)
    place = {id_: i for i, id_ in enumerate(ids)}
    pairs = np.array([[place[a], place[b]] for a, b in links], np.int64).reshape(-1, 2)
    alone = np.arange(len(ids))
    return Likeness(
        patches=manifest_of({id_: label_of[id_] for id_ in ids}),
        fingerprints=np.zeros((len(ids), 64), np.int16),
        near_copies=np.zeros((0, 2), np.int64),
        recrops=pairs,
        overlaps=np.zeros((0, 2), np.int64),
        photographs=Photographs(alone, np.full(len(ids), -1), np.ones(len(ids), bool)),
        tied=np.zeros(len(ids), bool),
        sites=None,
        left_out=np.zeros(len(ids), bool),
    )


def ingest_params(
    source: str | Path | Sequence[str | Path] = "sample",
    *,
    patches: int = 4,
    seed: int = 1,
    patch_size: int = 32,
) -> IngestParams:
    return IngestParams(
        source=str(source) if isinstance(source, str | Path) else [str(one) for one in source],
        patch_size=patch_size,
        shard_rows=3,
        photo="auto",
        max_photo_patches=660,
        run_change=4.0,
        sample=SampleParams(patches=patches, seed=seed),
    )


def params_with(**changes: Any) -> Params:
    """Return the project's own parameters with other sections."""
    return _own_params().model_copy(update=changes)


@cache
def _own_params() -> Params:
    return load_params(ROOT / "params.yaml")


def manifest_of(label_of: Mapping[str, str]) -> pa.Table:
    return pa.table({"id": list(label_of), "label": list(label_of.values())})


def places_of(places: Sequence[tuple[str, ShardPosition]]) -> pa.Table:
    """Return the columns of a manifest that lead to the shards."""
    return pa.table(
        {
            "id": [id_ for id_, _ in places],
            "shard": [shard_name(place.shard) for _, place in places],
            "row": [place.row for _, place in places],
        }
    )


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


def champion_of(version: str, digest: str = "0" * 64, bundle: str = "") -> Champion:
    """Return the champion of a version, with `run-VERSION` as its run."""
    return Champion(
        model_name="classifier",
        version=version,
        run_id=f"run-{version}",
        bundle=bundle or f"v{version}",
        bundle_digest=digest,
        promoted_at="2026-01-01T00:00:00+00:00",
    )


def entry_after(last: Entry | None, version: str, **changed: Any) -> Entry:
    """Return the entry of the ledger that follows: the promotion of a version."""
    number = last.number + 1 if last else 1
    said = {
        "kind": "promote",
        "transaction": f"{number:032x}",
        "who": "Ann",
        "from_version": last.to_version if last else None,
        "to_version": version,
        "why": f"reason {number}",
        "verdict": "better",
        "run_id": f"run-{version}",
        "git_commit": "0" * 40,
        "dvc_lock_digest": "d" * 64,
        "data_digest": "e" * 32,
        "bundle_digest": version[-1] * 64,
        "at": f"2026-11-{number:02}T08:00:00+00:00",
    }
    return following(last, **(said | changed))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every path below `folder`, with the content of the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
