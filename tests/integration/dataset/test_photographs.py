"""Photographs of a team, named as teams name them: each is found, and stays on one side."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import CHECKOUT

from cracks.dataset.photos.photo_table import PHOTO_TABLE
from cracks.errors import SourceError
from cracks.images.exif import DIRECTORY, EXPOSED, MODEL
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table
from tasks.ingest import ingest
from tasks.split import split
from tests.unit.builders import encoded, ingest_params, params_with, surface, tree, write_files

PHOTOGRAPHS, ROWS, COLUMNS, SIZE = 60, 4, 4, 64
FOLDERS = ("Negative", "Positive")


@dataclass(frozen=True)
class Patch:
    """One patch, and where it was really cut."""

    photo: int
    row: int
    column: int
    pixels: Any  # uint8 (SIZE, SIZE, 3)

    @property
    def folder(self) -> str:
        """The folder of its label."""
        return FOLDERS[(self.photo + self.row + self.column) % 2]

    @property
    def number(self) -> int:
        """Its number in the photograph."""
        return self.row * COLUMNS + self.column

    @property
    def hash(self) -> str:
        """A name that tells nothing."""
        return sha256(f"{self.photo}/{self.number}".encode()).hexdigest()[:16]


#: The path of a patch by the ways to name it.
NAMINGS: dict[str, Callable[[Patch], str]] = {
    "number": lambda one: f"{one.folder}/IMG_{one.photo:04}_{one.number:02}.jpg",
    "grid": lambda one: f"{one.folder}/wall{one.photo}_r{one.row}_c{one.column}.jpg",
    "hyphen": lambda one: f"{one.folder}/DJI_{one.photo:04}-{one.number}.jpg",
    "folder": lambda one: f"IMG_{one.photo:04}/{one.folder}/{one.hash}.jpg",
    "pixels": lambda one: f"{one.folder}/P{one.photo}_{one.row * SIZE}_{one.column * SIZE}.jpg",
    "hash": lambda one: f"{one.folder}/{one.hash}.jpg",
}


@cache
def patches() -> list[Patch]:
    """Return the patches of every photograph."""
    return [
        Patch(photo, row, column, drawn[row * SIZE :, column * SIZE :][:SIZE, :SIZE])
        for photo in range(PHOTOGRAPHS)
        for drawn in [_photograph(photo)]
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]


def _photograph(seed: int) -> Any:
    grey = surface(seed, size=max(ROWS, COLUMNS) * SIZE).astype(float)
    light, colour = np.random.default_rng(seed).normal(0, (25, 4)), np.array([1, 0, -1])
    return np.clip(grey[..., None] + light[0] + light[1] * colour, 0, 255).astype(np.uint8)


def _files(naming: str, *, with_exif: bool = False) -> dict[str, bytes]:
    files = {}
    for one in patches():
        exif = Image.Exif()
        if with_exif:
            time = datetime(2026, 5, 3) + timedelta(seconds=one.photo)
            exif[MODEL] = "Camera"
            exif.get_ifd(DIRECTORY)[EXPOSED] = f"{time:%Y:%m:%d %H:%M:%S}"
        files[NAMINGS[naming](one)] = encoded(Image.fromarray(one.pixels), "JPEG", exif=exif)
    return files


def _table() -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows(
        [
            ("path", "photo", "site", "taken"),
            *((NAMINGS["hash"](one), f"p{one.photo}", _site(one), "") for one in patches()),
        ]
    )
    return stream.getvalue().encode()


def _site(one: Patch) -> str:
    return f"site {one.photo % 6}"


@dataclass(frozen=True)
class Workspace:
    """A folder in which ingest and split run in this process."""

    paths: Paths
    params: Params

    def run(self) -> dict[str, Any]:
        """Return both reports by stage."""
        return {
            "ingest": ingest(self.params, self.paths),
            "split": split(self.params, self.paths),
        }

    def sides(self, by: Callable[[Patch], Any]) -> dict[Any, set[str]]:
        """Return the splits of what is really one photograph, or one site."""
        of = {row["id"]: row["split"] for row in read_table(self.paths.splits).to_pylist()}
        sides: dict[Any, set[str]] = defaultdict(set)
        for naming in NAMINGS.values():
            truth = {naming(one): one for one in patches()}
            for row in read_table(self.paths.manifest, ("path", "id")).to_pylist():
                if row["path"] in truth:
                    sides[by(truth[row["path"]])].add(of[row["id"]])
        return sides


def workspace(root: Path, files: Mapping[str, bytes], **changes: Any) -> Workspace:
    """Return a workspace whose source is a folder of these files."""
    source = write_files(root / "photographs", files)
    section = ingest_params(source, patch_size=SIZE)
    own = load_params(CHECKOUT / "params.yaml").split
    return Workspace(
        Paths(root / "workspace"),
        params_with(ingest=section, split=own.model_copy(update=changes)),
    )


#: How photographs can be known: the files, and the clue that finds them.
KNOWN: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "number": (lambda: _files("number"), "name"),
    "grid": (lambda: _files("grid"), "name"),
    "hyphen": (lambda: _files("hyphen"), "name"),
    "folder": (lambda: _files("folder"), "folder"),
    "pixels": (lambda: _files("pixels"), "name"),
    "camera and time": (lambda: _files("hash", with_exif=True), "EXIF"),
    "table": (lambda: {**_files("hash"), PHOTO_TABLE: _table()}, "table"),
}


@pytest.mark.parametrize(("files", "clue"), KNOWN.values(), ids=KNOWN.keys())
def test_every_photograph_is_one_group_and_no_test_patch_has_its_photograph_in_train(
    tmp_path: Path, files: Callable[[], dict[str, bytes]], clue: str
) -> None:
    made = workspace(tmp_path, files())
    reports = made.run()
    assert reports["ingest"]["photos"]["known_by"][clue] == len(patches())
    assert reports["ingest"]["photos"]["photographs"] == PHOTOGRAPHS
    assert reports["split"]["groups"] == PHOTOGRAPHS
    assert reports["split"]["counted"] == "photographs"
    sides = made.sides(lambda one: one.photo)
    assert len(sides) == PHOTOGRAPHS
    assert all(len(splits) == 1 for splits in sides.values())
    assert set().union(*sides.values()) == {"train", "validation", "test"}
    assert reports["split"]["leakage"]["this_split"]["same_photograph_in_train"] == 0
    assert reports["split"]["leakage"]["random_split"]["same_photograph_in_train"] > 0.9


def test_without_any_clue_the_leakage_is_not_known(tmp_path: Path) -> None:
    reports = workspace(tmp_path, _files("hash")).run()
    assert reports["ingest"]["photos"]["photographs_known"] == 0
    assert reports["split"]["leakage"]["this_split"]["same_photograph_in_train"] is None
    assert reports["split"]["counted"] == "patches"


def test_whole_sites_go_to_one_split_where_they_are_the_unit(tmp_path: Path) -> None:
    files = {**_files("hash"), PHOTO_TABLE: _table()}
    made = workspace(tmp_path, files, unit="site", train=0.5, validation=0.25, test=0.25)
    reports = made.run()
    assert (reports["ingest"]["photos"]["sites"], reports["split"]["counted"]) == (6, "sites")
    assert all(len(splits) == 1 for splits in made.sides(_site).values())


def test_a_table_speaks_of_its_folder_also_of_files_in_it_that_cannot_be_used(
    tmp_path: Path,
) -> None:
    files = {f"delivery/{path}": content for path, content in list(_files("hash").items())[:40]}
    broken = sorted(files)[0]
    lines = ["path,photo", *(f"{path.removeprefix('delivery/')},one" for path in sorted(files))]
    table = {f"delivery/{PHOTO_TABLE}": "\n".join(lines).encode()}
    reports = workspace(tmp_path, {**files, broken: b"no image", **table}).run()
    assert reports["ingest"]["quarantined"] == 1
    assert reports["ingest"]["photos"]["known_by"]["table"] == 39
    assert reports["split"]["photographs"] == 1


BAD_TABLES: dict[str, tuple[bytes, str]] = {
    "unknown path": (b"path,photo\nPositive/none.jpg,a\n", "the source has no file"),
    "no photo": (b"path,photo\n%(first)s,\n", "has no photo"),
    "a photo in two sites": (
        b"path,photo,site\n%(first)s,a,pier\n%(second)s,a,deck\n",
        "line 3: photo 'a' is of site 'deck' here and of 'pier' in line 2",
    ),
    "no time": (b"path,photo,site,taken\n%(first)s,a,,yesterday\n", "'yesterday' is no time"),
    "another encoding": ("path,photo\n%(first)s,Brücke\n".encode("latin-1"), "it is not UTF-8"),
}


@pytest.mark.parametrize(("table", "said"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_a_table_that_is_not_sound_is_refused_in_one_line_and_nothing_changes(
    tmp_path: Path, table: bytes, said: str
) -> None:
    files = dict(list(_files("hash").items())[:40])
    made = workspace(tmp_path, files)
    made.run()
    before = tree(made.paths.root)
    first, second = sorted(files)[:2]
    content = table % {b"first": first.encode(), b"second": second.encode()}
    write_files(tmp_path / "photographs", {PHOTO_TABLE: content})
    with pytest.raises(SourceError) as refused:
        made.run()
    assert str(refused.value).startswith(f"ingest.source: photographs/{PHOTO_TABLE}, line ")
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert tree(made.paths.root) == before
