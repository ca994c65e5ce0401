"""The bundle: everything that serving loads, with the SHA-256 of every file in it.

bundle.json   labels, patch size, calibration, threshold, lineage, metrics, digests of the others
model.xml     the network as OpenVINO IR: uint8 pixels to `score` and `features`
model.bin     its weights
novelty.npz   what photographs like the training data look like
golden.parquet  a few patches with the scores that they must get
reference.parquet  the network's outputs for held-out patches, for monitoring
neighbours.parquet  training patches, to show the nearest ones beside a prediction
model.onnx    the same network for ONNX Runtime, if export.formats names it
model.tflite  the same network for LiteRT, if export.formats names it

Format 1 had neither calibration nor novelty; a champion of that format is still served.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cracks.dataset.labels import LABELS
from cracks.errors import BundleError
from cracks.inference.bundle.calibration import Calibration
from cracks.system.atomic_files import write_json
from cracks.system.hashing import digest_of_bytes, digest_of_file
from cracks.system.validation_errors import reason_of
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import flatten, read_report
from cracks.workspace.stage_reports import EvaluateReport, IngestReport

CONTENT = "bundle.json"
NETWORK = "model.xml"
NOVELTY = "novelty.npz"
GOLDEN = "golden.parquet"
REFERENCE = "reference.parquet"
NEIGHBOURS = "neighbours.parquet"
OTHER_NETWORKS = {"onnx": "model.onnx", "litert": "model.tflite"}

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: A plain name: a bundle can never point outside its folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class BundleContent(BaseModel):
    """The content of bundle.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1, 2] = 2
    labels: tuple[str, str]
    patch_size: Annotated[int, Field(ge=1)]
    precision: Literal["f32", "bf16", "int8"] = "f32"
    calibration: Calibration = Calibration()
    threshold: Annotated[float, Field(ge=0, le=1)]  # of calibrated scores
    architecture: str
    lineage: dict[str, Any]
    metrics: dict[str, float]
    files: dict[FileName, Sha256]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found unaltered."""

    folder: Path
    content: BundleContent
    digest: str  # SHA-256 of bundle.json, which names the digests of all others

    @property
    def network(self) -> Path:
        """The network that the runtime loads."""
        return self.folder / NETWORK

    @property
    def novelty(self) -> Path | None:
        """The novelty description of the training data; None in a bundle that has none."""
        return self._optional(NOVELTY)

    @property
    def golden(self) -> Path | None:
        """Patches with the scores that they must get; None in a bundle that has none."""
        return self._optional(GOLDEN)

    @property
    def reference(self) -> Path | None:
        """Held-out patches to compare predictions with; None in a bundle that has none."""
        return self._optional(REFERENCE)

    @property
    def neighbours(self) -> Path | None:
        """Training patches to show beside predictions; None in a bundle that has none."""
        return self._optional(NEIGHBOURS)

    def _optional(self, name: str) -> Path | None:
        return self.folder / name if name in self.content.files else None


def content_of(params: Params, paths: Paths, evaluation: EvaluateReport) -> dict[str, Any]:
    """Return what bundle.json says of the model of a workspace, but for the digests of files."""
    ingested = read_report(paths.report("ingest"), IngestReport)
    return {
        "labels": LABELS,
        "patch_size": params.ingest.patch_size,
        "precision": params.featurize.precision,
        "calibration": evaluation["calibration"]["fitted"],
        "threshold": evaluation["threshold"],
        "architecture": params.featurize.architecture,
        "lineage": {
            "source": ingested["source"],
            "source_digest": ingested["source_digest"],
            "manifest_sha256": digest_of_file(paths.manifest),
            "splits_sha256": digest_of_file(paths.splits),
        },
        "metrics": flatten({"test": evaluation["test"]}),
    }


def seal_bundle(folder: Path, content: dict[str, Any]) -> Bundle:
    """Write bundle.json over the files that lie in `folder`, and return the bundle.

    Args:
        folder: holds the network's files and nothing else.
        content: the fields of `BundleContent` but `format` and `files`.
    """
    files = {file.name: digest_of_file(file) for file in sorted(folder.iterdir())}
    checked = BundleContent(files=files, **content)
    write_json(folder / CONTENT, checked.model_dump(mode="json"))
    return open_bundle(folder)


def open_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder` after comparing every file with its digest.

    Raises:
        BundleError: a file is missing, altered or not named in bundle.json.
    """
    raw = _read_content(folder)
    try:
        content = BundleContent.model_validate(json.loads(raw))
    except ValueError as error:  # no UTF-8, no JSON, or not what a bundle says
        reason = reason_of(error)
        raise BundleError(f"{folder / CONTENT} is no description of a bundle: {reason}.") from None
    for name, digest in content.files.items():
        _require_unaltered(folder / name, digest)
    unknown = {file.name for file in folder.iterdir()} - {CONTENT, *content.files}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise BundleError(f"The bundle {folder} was altered: {CONTENT} does not name {names}.")
    if NETWORK not in content.files:
        raise BundleError(f"The bundle {folder} is incomplete: {CONTENT} names no {NETWORK}.")
    return Bundle(folder, content, digest_of_bytes(raw))


def _read_content(folder: Path) -> bytes:
    try:
        return (folder / CONTENT).read_bytes()
    except OSError:
        raise BundleError(
            f"{folder} is no bundle: it has no {CONTENT}. `dvc repro export` makes one."
        ) from None


def _require_unaltered(file: Path, digest: str) -> None:
    if not file.is_file():
        raise BundleError(f"The bundle {file.parent} is incomplete: {file.name} is missing.")
    if digest_of_file(file) != digest:
        raise BundleError(
            f"The bundle {file.parent} was altered: {file.name} has not the SHA-256 in {CONTENT}."
        )
