"""Provenance: of several clues the best one counts, and one that contradicts itself does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from cracks.dataset.manifest import UNCERTAIN
from cracks.dataset.photos.path_clues import FOLDER, NAME
from cracks.dataset.photos.photo_table import PhotoRow
from cracks.dataset.photos.resolution import (
    EXIF,
    SEQUENCE,
    TABLE,
    Provenance,
    SourceClues,
    find_provenance,
    mixed_photos,
)
from tests.unit.builders import ingest_params

MOST = ingest_params().max_photo_patches
NOON = datetime(2026, 5, 3, 12)


def _provenance(
    paths: Sequence[str],
    *,
    taken: Sequence[datetime | None] | None = None,
    look: npt.NDArray[np.float64] | None = None,
    table: Mapping[str, PhotoRow] | None = None,
) -> Provenance:
    count = len(paths)
    clues = SourceClues(
        "new.zip",
        paths,
        ["Canon 1"] * count,
        [None] * count if taken is None else taken,
        np.zeros((count, 5)) if look is None else look,
        table or {},
    )
    return find_provenance(clues, ingest_params())


def _minutes(numbers: Sequence[int]) -> list[datetime]:
    return [NOON + timedelta(minutes=number) for number in numbers]


def test_without_any_clue_the_photograph_is_unknown_and_the_site_is_the_source() -> None:
    found = _provenance([f"Positive/{i * 7919:x}.jpg" for i in range(1, 60)])
    assert not found.known().any()
    assert set(found.sites) == {"new.zip"}


def test_the_time_of_the_camera_tells_photographs_apart() -> None:
    found = _provenance(
        ["Positive/a.jpg", "Negative/b.jpg", "Negative/c.jpg"], taken=_minutes([1, 1, 2])
    )
    assert found.photos[0] == found.photos[1] != found.photos[2]
    assert found.ways == [EXIF] * 3
    assert found.taken == _minutes([1, 1, 2])


def test_a_name_counts_before_the_camera_and_the_table_before_both() -> None:
    paths = ["Positive/IMG_1_1.jpg", "Positive/IMG_1_2.jpg", "Positive/IMG_1_3.jpg"]
    row = PhotoRow("B", "pier", NOON)
    found = _provenance(paths, taken=_minutes([1, 1, 1]), table={paths[2]: row})
    assert found.photos == ["IMG_1", "IMG_1", "B"]
    assert found.ways == [NAME, NAME, TABLE]
    assert found.sites == ["new.zip", "new.zip", "pier"]
    assert found.taken == [*_minutes([1, 1]), NOON]


def test_a_folder_of_patches_that_were_taken_at_several_times_is_a_site() -> None:
    paths = [f"{folder}/Positive/{i:x}.jpg" for folder in ("pier", "deck") for i in range(4)]
    found = _provenance(paths, taken=_minutes([1, 1, 2, 2, 3, 3, 3, 3]))
    assert found.ways == [EXIF] * 4 + [FOLDER] * 4
    assert found.sites == ["pier"] * 4 + ["new.zip"] * 4
    assert len(set(found.photos)) == 3
    assert list(found.doubted) == ["pier"]


def test_one_time_for_more_patches_than_a_photograph_holds_tells_nothing() -> None:
    found = _provenance([f"Positive/{i:x}.jpg" for i in range(MOST + 1)], taken=[NOON] * (MOST + 1))
    assert not found.known().any()
    assert len(found.doubted) == 1


def test_a_numbered_sequence_is_cut_where_the_look_changes() -> None:
    rng = np.random.default_rng(0)
    look = np.repeat(rng.normal(0, 20, (6, 5)), 20, axis=0) + rng.normal(0, 0.5, (120, 5))
    found = _provenance([f"Positive/{i:05}.jpg" for i in range(120)], look=look)
    assert set(found.ways) == {SEQUENCE, UNCERTAIN}
    assert found.ways[10] == SEQUENCE
    assert len(set(found.photos)) == 6
    assert found.photos[0] == "Positive/00000…"


def test_a_photograph_of_patches_that_differ_far_more_than_others_do_is_found() -> None:
    rng = np.random.default_rng(0)
    photos = [f"IMG_{i // 8}" for i in range(160)]
    look = np.repeat(rng.normal(0, 20, (20, 5)), 8, axis=0) + rng.normal(0, 1, (160, 5))
    assert mixed_photos(look, photos) == {}
    look[:8] += rng.normal(0, 30, (8, 5))
    assert list(mixed_photos(look, photos)) == ["IMG_0"]
