"""Path clues: folders and names tell which photograph a patch was cut from, or nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cracks.dataset.photos.path_clues import FOLDER, NAME, path_clues

#: Patches that one photograph can hold.
MOST = 600

#: How teams name patch 5 of photograph 12, as a function of both numbers.
NAMINGS: dict[str, Callable[[int, int], str]] = {
    "number at the end": lambda photo, patch: f"Positive/IMG_{photo:04}_{patch:02}.jpg",
    "hyphen": lambda photo, patch: f"Positive/DJI_{photo:04}-{patch}.jpg",
    "brackets": lambda photo, patch: f"Positive/P{photo:07} ({patch}).jpg",
    "hash of the photograph": lambda photo, patch: f"Positive/{photo * 7919:08x}0_{patch}.jpg",
    "date and time": lambda photo, patch: f"Positive/2026-05-03_10{photo:02}12_{patch}.jpg",
    "rows and columns": lambda photo, patch: f"Positive/wall{photo}_r{patch // 4}_c{patch % 4}.jpg",
    "rows and columns, no letters": lambda p, n: f"Positive/wall{p}_{n // 4}_{n % 4}.jpg",
    "pixels": lambda p, n: f"Positive/photo{p}_{n // 4 * 227}_{n % 4 * 227}.jpg",
    "pixels, called so": lambda p, n: f"Positive/photo{p}-x{n // 4 * 227}-y{n % 4 * 227}.jpg",
    "words": lambda p, n: (
        f"Positive/{'abcdefghijkl'[p % 12] * 3}_r{n // 4}c{n % 4 + p // 12 * 4}.jpg"
    ),
    "folder, then label": lambda photo, patch: f"IMG_{photo:04}/Positive/{patch:02}.jpg",
    "label, then folder": lambda photo, patch: f"Positive/IMG_{photo:04}/{patch:02}.jpg",
    "folder of a grid": lambda p, n: f"all/tiles/IMG_{p:04}/Positive/{n // 4}_{n % 4}.jpg",
    "folder in a site": lambda p, n: f"bridge{p % 3}/IMG_{p:04}/Positive/{n:02}.jpg",
}


def _partition(names: list[str]) -> set[frozenset[int]]:
    return {frozenset(i for i, one in enumerate(names) if one == name) for name in set(names)}


@pytest.mark.parametrize("naming", NAMINGS.values(), ids=NAMINGS.keys())
def test_patches_are_told_apart_by_photograph(naming: Callable[[int, int], str]) -> None:
    photos = [photo for photo in range(1, 13) for _ in range(16)]
    paths = [naming(photo, i % 16) for i, photo in enumerate(photos)]
    found = path_clues(paths, MOST)
    assert _partition(found.photos) == _partition([str(photo) for photo in photos])
    assert not found.doubted


@pytest.mark.parametrize(
    "name",
    [
        "{:05}",
        "IMG_{:04}",
        "DSC{:05}",
        "{:064x}",
        "tile ({})",
        "2026-05-03_{:06}",
        "{:05}_1",
        "set1_{:05}",
    ],
)
def test_a_running_number_names_no_photograph(name: str) -> None:
    paths = [f"Negative/{name.format(number * 101 + 9)}.jpg" for number in range(1, 200)]
    found = path_clues(paths, MOST)
    assert set(found.photos) == set(found.ways) == {""}


def test_a_photograph_has_patches_of_both_labels() -> None:
    found = path_clues(["Positive/IMG_0012_03.jpg", "Negative/IMG_0012_04.jpg"], MOST)
    assert found.photos == ["IMG_0012"] * 2


def test_a_folder_is_a_site_where_the_names_in_it_tell_photographs_apart() -> None:
    paths = [
        f"{site}/Positive/IMG_{photo:04}_{patch}.jpg"
        for site in ("pier", "deck")
        for photo in (1, 2)
        for patch in range(3)
    ]
    found = path_clues(paths, MOST)
    assert found.sites == ["pier"] * 6 + ["deck"] * 6
    assert set(found.photos) == {
        f"{site}/IMG_{photo:04}" for site in ("pier", "deck") for photo in (1, 2)
    }
    assert set(found.ways) == {NAME}


def test_the_folder_above_that_of_a_photograph_is_its_site() -> None:
    paths = ["all/pier/a/Positive/1.jpg", "all/pier/b/Positive/1.jpg", "all/deck/a/Negative/1.jpg"]
    found = path_clues(paths, MOST)
    assert found.sites == ["pier", "pier", "deck"]
    assert found.photos == ["pier/a", "pier/b", "deck/a"]
    assert set(found.ways) == {FOLDER}


def test_a_folder_that_everything_lies_in_is_no_photograph() -> None:
    found = path_clues(
        ["Concrete Cracks/Positive/00001.jpg", "Concrete Cracks/Negative/7.jpg"], MOST
    )
    assert found.photos == found.sites == ["", ""]


def test_what_holds_more_patches_than_a_photograph_can_is_none_and_named() -> None:
    delivery = [f"delivery/Positive/{i:05}.jpg" for i in range(MOST + 1)]
    numbered = [f"Positive/set1_{i:04}.jpg" for i in range(MOST + 1)]
    found = path_clues([*delivery, *numbered], MOST)
    assert set(found.photos) == {""}
    assert found.sites == ["delivery"] * len(delivery) + [""] * len(numbered)
    assert found.doubted == {"delivery": MOST + 1, "set1": MOST + 1}


def test_a_stem_that_one_file_has_says_nothing() -> None:
    assert path_clues(["Positive/10001_1.jpg", "Positive/10002_1.jpg"], MOST).photos == ["", ""]
