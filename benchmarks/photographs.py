"""The photographs and weights to measure with, as they lie beside the checkout or are drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.scratch import MeasurementFailed, Scratch
from cracks.dataset.ingest.sources.local import open_path
from cracks.dataset.ingest.sources.synthetic import table_of
from cracks.dataset.photos.photo_table import PHOTO_TABLE
from cracks.images.synthetic_concrete import draw_sample, origins_of_sample
from cracks.system.console import progress

CHECKOUT = Path(__file__).resolve().parents[1]

#: Photographs that are drawn where no real ones are at hand, and from which seed.
DRAWN, SEED = 3000, 2026


class Photographs:
    """A folder or .zip of labelled photographs, and copies of it in a scratch folder."""

    def __init__(self, path: Path, name: str, scratch: Scratch) -> None:
        """Measure with the photographs at `path`, called `name` in the notes.

        Raises:
            SourceError: there is nothing at `path`, or it is damaged.
            MeasurementFailed: it holds no photograph.
        """
        self.path, self.name, self._scratch = path, name, scratch
        with open_path(path, name) as source:
            self.count = len(source.paths())
        if not self.count:
            raise MeasurementFailed(f"{path} holds no photograph in Positive/ or Negative/")

    def loose(self) -> Path:
        """Return a folder of the photographs as loose files."""
        place = self._scratch.place / "photographs"
        if not place.is_dir():
            with open_path(self.path, self.name) as source:
                for path, content in source.contents():
                    _write(place / path, content)
        return place

    def at_most(self, count: int) -> Path:
        """Return a folder of every n-th photograph of each label, about `count` of them."""
        step = -(-self.count // count)
        place = self._scratch.place / f"every-{step}"
        if place.is_dir():
            return place
        files = sorted(file for file in self.loose().rglob("*") if file.is_file())
        link_files(files[::step], self.loose(), place)
        return place


def link_files(files: Iterable[Path], whole: Path, part: Path) -> None:
    """Put some files of the folder `whole` into the folder `part`, without copying them."""
    for file in files:
        link = part / file.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)


def open_photographs(named: Path | None, scratch: Scratch) -> Photographs:
    """Return the photographs to measure with: those named, the real ones here, or drawn ones.

    Raises:
        SourceError: `named` is damaged.
        MeasurementFailed: `named` is no folder and no .zip, or holds no photograph.
    """
    path = named or shared("data/metu-20k.zip")
    if named and not named.exists():
        raise MeasurementFailed(f"there is no {named}; give a folder or a .zip")
    if named and named.is_file() and named.suffix.lower() != ".zip":
        raise MeasurementFailed(f"{named} is neither a folder nor a .zip")
    if named or path.is_file():
        return Photographs(path.resolve(), path.name, scratch)
    return Photographs(drawn_sample(scratch), "the drawn sample", scratch)


def shared(name: str) -> Path:
    """Return where a file of real data lies beside the checkout on some machines."""
    return Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared")) / name


def trained_weights() -> Path | None:
    """Return the trained weights of the notebooks' backbone, or None where there are none."""
    file = shared("weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5").resolve()
    return file if file.is_file() else None


def network_params(weights: Path) -> list[str]:
    """Return the parameters of the notebooks' network with some weights."""
    return [
        "featurize.architecture=mobilenetv2",
        "featurize.image_size=160",
        f"featurize.weights={json.dumps(str(weights))}",
    ]


def drawn_sample(scratch: Scratch) -> Path:
    """Return a folder of `DRAWN` drawn patches, with the table of their photographs."""
    place = scratch.place / "sample"
    if place.is_dir():
        return place
    with progress(DRAWN, "drawing photographs", "images") as advance:
        for name, content in draw_sample(DRAWN, SEED, processes=os.cpu_count() or 1):
            _write(place / name, content)
            advance(1)
    _write(place / PHOTO_TABLE, table_of(origins_of_sample(DRAWN)))
    return place


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
