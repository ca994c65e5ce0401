"""The tables that the expectations are about, derived from manifest, splits and quarantine list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cracks.labels import CRACK
from cracks.splitting import LEFT_OUT

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the manifest that no expectation looks at.
UNSEEN = ("source", "shard", "row", "fingerprint", "red_minus_green", "green_minus_blue")


def patches_table(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Return one row a usable file: the facts, and whom it shares its picture and split with.

    `labels_of_content`, `labels_of_picture`, `splits_of_picture` and `splits_of_group` count how
    many different ones there are among the files with the same bytes, picture or group.
    """
    dealt = splits.set_index("id")
    table = manifest.assign(is_crack=(manifest["label"] == CRACK).astype(float))
    for column in ("near_copies", "group", "split"):
        table[column] = manifest["id"].map(dealt[column])
    in_use = table["split"].where(table["split"] != LEFT_OUT)
    table["labels_of_content"] = _different(table["label"], table["id"])
    table["labels_of_picture"] = _different(table["label"], table["near_copies"])
    table["splits_of_picture"] = _different(in_use, table["near_copies"])
    table["splits_of_group"] = _different(in_use, table["group"])
    return table.drop(columns=[column for column in UNSEEN if column in table])


def splits_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Return one row a distinct patch: its split and label in one word, and whether it is used."""
    used = (splits["split"] != LEFT_OUT).map({True: "yes", False: "no"})
    return splits[["id", "label"]].assign(
        split_and_label=splits["split"] + ", " + splits["label"], used=used
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


def drift_table(drift: Mapping[str, float]) -> pd.DataFrame:
    """Return one row: how far each watched fact lies from the last accepted data set."""
    import pandas as pd

    return pd.DataFrame([dict(drift)])


def _different(values: pd.Series, groups: pd.Series) -> pd.Series:
    return values.groupby(groups).transform("nunique")
