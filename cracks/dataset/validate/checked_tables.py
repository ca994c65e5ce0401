"""The tables that the expectations are about, derived from manifest, splits and quarantine list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cracks.dataset.labels import CRACK, LEFT_OUT, SPLITS
from cracks.dataset.manifest import SCHEMA, UNCERTAIN

if TYPE_CHECKING:
    import pandas as pd

#: The columns of the manifest that expectations do not look at, and those that they do.
UNSEEN = (
    *("source", "shard", "row", "taken", "camera", "exposed"),
    *("fingerprint", "borders", "red_minus_green", "green_minus_blue"),
)
SEEN = tuple(name for name in SCHEMA.names if name not in UNSEEN)


def patches_table(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Return one row a usable file: the facts, its split, and what those like it have.

    `labels_of_content`, `labels_of_picture`, `splits_of_picture`, `splits_of_group` and
    `splits_of_photo` count how many different ones there are among the files with the same bytes,
    picture, group or photograph. A file whose photograph is not known for certain is one by itself.

    Args:
        manifest: the columns `SEEN`, with rows numbered from 0.
        splits: one row a distinct patch.
    """
    assigned = splits.set_index("id").reindex(manifest["id"]).reset_index(drop=True)
    # Numbers instead of long names: a data set may have millions of rows.
    content, picture, group = (
        names.factorize()[0]
        for names in (manifest["id"], assigned["near_copies"], assigned["group"])
    )
    in_use = assigned["split"].where(assigned["split"] != LEFT_OUT)
    return manifest.assign(
        split=assigned["split"],
        labels_of_content=_different(manifest["label"], content),
        labels_of_picture=_different(manifest["label"], picture),
        splits_of_picture=_different(in_use, picture),
        splits_of_group=_different(in_use, group),
        splits_of_photo=_different(in_use, photographs_of(manifest)),
    )


def photographs_of(manifest: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the number of the photograph of each row, one by itself where it is not certain."""
    photo = manifest.groupby(["site", "photo"]).ngroup().to_numpy()  # -1 where there is none
    alone = (photo < 0) | (manifest["photo_by"] == UNCERTAIN)
    return np.where(alone, -1 - np.arange(len(photo)), photo)


def sides_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Return one row: how many groups with cracks each of `SPLITS` has."""
    import pandas as pd

    cracked = splits[splits["label"] == CRACK]
    return pd.DataFrame(
        [{split: cracked["group"][cracked["split"] == split].nunique() for split in SPLITS}]
    )


def splits_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Return one row a distinct patch: its split and label in one word, and whether it is used.

    `crack_used` and `clean_used` are "yes" or "no", and missing for patches of the other label.
    """
    used = (splits["split"] != LEFT_OUT).map({True: "yes", False: "no"})
    return splits[["id", "label"]].assign(
        split_and_label=splits["split"] + ", " + splits["label"],
        crack_used=used.where(splits["label"] == CRACK),
        clean_used=used.where(splits["label"] != CRACK),
    )


def files_table(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> pd.DataFrame:
    """Return one row a file of the sources: whether it decoded, was accepted, and why not."""
    import pandas as pd

    accepted = manifest[["path", "label"]].assign(reason="", decoded="yes", accepted="yes")
    wrong_size = quarantine["reason"].str.startswith("wrong size")
    refused = quarantine[["path", "label", "reason"]].assign(
        decoded=wrong_size.map({True: "yes", False: "no"}), accepted="no"
    )
    return pd.concat([accepted, refused], ignore_index=True)


def _different(values: pd.Series, groups: npt.NDArray[np.integer[Any]]) -> pd.Series:
    return values.groupby(groups).transform("nunique")
