"""Read from folders and file names which photograph a patch was cut from, and at which site.

    bridge7/IMG_0012/Positive/03.jpg    a folder a photograph: IMG_0012 of bridge7
    bridge7/Positive/IMG_0012_03.jpg    a number at the end of the name: IMG_0012 of bridge7
    Positive/wall7_r2_c5.jpg            a place in a grid: wall7

Nothing is read into a name that holds nothing else than a running number: `00012.jpg` and
`IMG_0012.jpg` say which file it is, and not what it was cut from.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath

from cracks.dataset.labels import LABEL_OF_FOLDER

#: How a photograph was known.
FOLDER, NAME = "folder", "name"

_BETWEEN = r"[ _.-]"
_AXIS = r"(?:rows?|r|col(?:umn)?s?|c|[xyij])"

#: A row and a column, or two pixel positions, that are called so: `_r2_c5`, `-x454-y227`, `_3x5`.
GRID = re.compile(
    rf"(.+?){_BETWEEN}+(?:{_AXIS}{_BETWEEN}?\d+{_BETWEEN}*{_AXIS}{_BETWEEN}?\d+|\d+[x×]\d+)",
    re.IGNORECASE,
)

#: The number of a patch: `_03`, `-17`, ` (4)`, `_tile12`. One of five digits counts the files of a
#: delivery (`set1_00001`), longer ones are dates and times.
NUMBER = re.compile(
    rf"(.+?)(?:{_BETWEEN}+(?:tile|patch|crop|part)?{_BETWEEN}?(\d{{1,4}})| ?\((\d{{1,4}})\))",
    re.IGNORECASE,
)

#: Digits of a row or a column that is not called so: the 2 of `wall7_2_5`, not the 0012 of
#: `IMG_0012_03`.
PLACE_DIGITS = 2

#: The least common step in pixels of positions: tiles stand apart by more.
LEAST_STEP = 8


@dataclass(frozen=True)
class PathClues:
    """What the paths of one source tell, each list in their order; "" where they tell nothing."""

    photos: list[str]
    sites: list[str]
    ways: list[str]  # FOLDER or NAME
    doubted: dict[str, int]  # what holds more patches than a photograph can, and how many


def path_clues(paths: Sequence[str], most: int) -> PathClues:
    """Return the photograph and the site of each file of one source, as far as its path tells.

    Args:
        paths: within the source, with `/`.
        most: patches that one photograph can hold; what has more is no photograph.
    """
    folders, names = _inner_folders(paths), [PurePosixPath(path).stem for path in paths]
    stems = _shared_stems(folders, names)
    sizes = Counter(zip(folders, stems, strict=True))
    doubted = {
        "/".join((*folder, stem)): count
        for (folder, stem), count in sizes.items()
        if stem and count > most
    }
    stems = [
        "" if sizes[folder, stem] > most else stem
        for folder, stem in zip(folders, stems, strict=True)
    ]
    files, photos_in = Counter(folders), defaultdict(set)
    for folder, stem in zip(folders, stems, strict=True):
        # In the folder of a photograph `2_3` is a row and a column.
        if stem and not (stem.isdigit() and len(stem) <= PLACE_DIGITS):
            photos_in[folder].add(stem)
    clues = PathClues([], [], [], doubted)
    for folder, stem in zip(folders, stems, strict=True):
        # Names that tell several photographs apart show that their folder is none.
        is_photo = bool(folder) and len(photos_in[folder]) < 2
        if is_photo and files[folder] > most:
            doubted["/".join(folder)] = files[folder]
            is_photo = False
        if is_photo:
            found = "/".join(folder), "/".join(folder[:-1]), FOLDER
        elif stem:
            found = "/".join((*folder, stem)), "/".join(folder), NAME
        else:
            found = "", "/".join(folder), ""
        for column, value in zip((clues.photos, clues.sites, clues.ways), found, strict=True):
            column.append(value)
    return clues


def _inner_folders(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the folders of each file that are no label, below the one that all have in common."""
    folders = [
        tuple(
            part for part in PurePosixPath(path).parts[:-1] if part.lower() not in LABEL_OF_FOLDER
        )
        for path in paths
    ]
    root = sum(
        1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    )
    return [folder[root:] for folder in folders]


def _shared_stems(folders: Sequence[tuple[str, ...]], names: Sequence[str]) -> list[str]:
    """Return what the name of each file begins with, where others in its folder begin so too."""
    in_pixels = _positions_in_pixels(names)
    stems = [_stem(name, in_pixels) for name in names]
    sizes = Counter(zip(folders, stems, strict=True))
    return [
        stem if sizes[folder, stem] > 1 else "" for folder, stem in zip(folders, stems, strict=True)
    ]


def _stem(name: str, in_pixels: bool) -> str:
    """Return a name without the place of a patch, or "" where it names no photograph."""
    if grid := GRID.fullmatch(name):
        return grid[1]
    if not (last := NUMBER.fullmatch(name)):
        return ""
    stem = last[1]
    if before := NUMBER.fullmatch(stem):
        is_place = in_pixels or len(_number(before)) <= PLACE_DIGITS
        if is_place and _has_digit(before[1]):
            stem = before[1]
    return stem if _has_digit(stem) else ""


def _positions_in_pixels(names: Sequence[str]) -> bool:
    """Return whether names end with two numbers that have a step in common, as pixels have."""
    ends = [
        (int(_number(before)), int(_number(last)))
        for name in names
        if (last := NUMBER.fullmatch(name)) and (before := NUMBER.fullmatch(last[1]))
    ]
    return bool(ends) and math.gcd(*(number for pair in ends for number in pair)) >= LEAST_STEP


def _number(match: re.Match[str]) -> str:
    return match[2] or match[3]


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)
