"""The table of sites: what there is of each, in which splits, and how that is known."""

from __future__ import annotations

import pandas as pd

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.photos.site_table import site_rows

MANIFEST = pd.DataFrame(
    [
        ("1", CRACK, "A", "folder", "pier"),
        ("2", NO_CRACK, "A", "folder", "pier"),
        ("3", NO_CRACK, None, None, "pier"),
        ("1", CRACK, "B", "table", "deck"),
    ],
    columns=["id", "label", "photo", "photo_by", "site"],
)
SPLITS = pd.DataFrame({"id": ["1", "2", "3"], "split": ["test", "train", "left out"]})


def test_a_site_has_photographs_patches_and_cracks_and_says_how_they_are_known() -> None:
    assert site_rows(MANIFEST) == [
        {"site": "deck", "photographs": 1, "patches": 1, "cracks": 1, "known by": "table 1"},
        {
            "site": "pier",
            "photographs": 1,
            "patches": 3,
            "cracks": 1,
            "known by": "folder 2, unknown 1",
        },
    ]


def test_where_there_is_a_split_each_site_says_how_many_of_its_files_are_in_it() -> None:
    deck, pier = site_rows(MANIFEST, SPLITS)
    assert (deck["train"], deck["validation"], deck["test"]) == (0, 0, 1)
    assert (pier["train"], pier["validation"], pier["test"]) == (1, 0, 1)
