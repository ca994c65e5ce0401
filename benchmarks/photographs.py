"""The photographs to measure with: as they lie, as loose files, repeated, and thinned out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scratch import MeasurementFailed, Scratch
from cracks.dataset.ingest.sources.local import open_path
from cracks.images.synthetic_concrete import draw_sample
from cracks.system.console import Advance, progress

CHECKOUT = Path(__file__).resolve().parents[1]

#: Photographs that are drawn where no real ones are at hand, and from which seed.
DRAWN, SEED = 3000, 2026

#: Bytes that a file takes on the disk beyond its own, at most.
BLOCK = 4096


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
        return self._copy(0)

    @contextmanager
    def repeated(self, times: int) -> Iterator[Path]:
        """Yield a folder of `times` as many photographs; what was added is removed at the end.

        Each repetition is a folder of its own, in which all names and pixels are the same and all
        bytes are others.
        """
        size = sum(file.stat().st_size for file in self.loose().rglob("*") if file.is_file())
        # Once as files, once as shards.
        needed = times * (2 * size + self.count * BLOCK)
        self._scratch.require_space(needed, f"{times * self.count:,} photographs")
        try:
            total = (times - 1) * self.count
            with progress(total, "repeating the photographs", "images") as advance:
                for number in range(1, times):
                    self._copy(number, advance)
            yield self.loose().parent
        finally:
            for number in range(1, times):
                shutil.rmtree(self._place(number), ignore_errors=True)

    def thinned(self, step: int) -> Path:
        """Return a folder of every `step`-th photograph of each label."""
        place = self._scratch.place / f"every-{step}"
        if place.is_dir():
            return place
        files = sorted(file for file in self.loose().rglob("*") if file.is_file())
        for file in files[::step]:
            target = place / file.relative_to(self.loose())
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)
        return place

    def _copy(self, number: int, advance: Advance = lambda _: None) -> Path:
        """Write the photographs once more, with bytes after their end that no decoder reads."""
        place = self._place(number)
        if place.is_dir():
            return place
        mark = f"repetition {number}".encode() if number else b""
        with open_path(self.path, self.name) as source:
            for path, content in source.contents():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(content + mark)
                advance(1)
        return place

    def _place(self, number: int) -> Path:
        return self._scratch.place / "photographs" / f"rep{number}"


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
    return Photographs(_drawn(scratch), "the drawn sample", scratch)


def shared(name: str) -> Path:
    """Return where a file of real data lies beside the checkout on some machines."""
    return Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared")) / name


def count_files(folder: Path) -> int:
    """Return how many files a folder holds at any depth."""
    return sum(1 for file in folder.rglob("*") if file.is_file())


def _drawn(scratch: Scratch) -> Path:
    place = scratch.place / "sample"
    with progress(DRAWN, "drawing photographs", "images") as advance:
        for name, content in draw_sample(DRAWN, SEED, processes=os.cpu_count() or 1):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
            advance(1)
    return place
