"""List the sites of a data set: their photographs, patches and cracks, and how that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cracks.dataset.labels import CRACK, SPLITS

if TYPE_CHECKING:
    import pandas as pd

#: What is read of the manifest, and of the table of splits.
SITE_COLUMNS, SPLIT_COLUMNS = ("id", "label", "photo", "photo_by", "site"), ("id", "split")


def site_rows(manifest: pd.DataFrame, splits: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """Return a row for each site, in the order of their names.

    Args:
        manifest: `SITE_COLUMNS` of it.
        splits: `SPLIT_COLUMNS` of the table; None before there is one, and then the rows have no
            split.

    Returns:
        Rows of "site", "photographs", "patches", "cracks", the patches of each split, and "known
        by": how many patches each clue told the photograph of.
    """
    files = manifest if splits is None else manifest.merge(splits, on="id", how="left")
    return [_row(str(site), members) for site, members in files.groupby("site")]


def _row(site: str, files: pd.DataFrame) -> dict[str, Any]:
    ways = files["photo_by"].fillna("unknown").value_counts().sort_index()
    return {
        "site": site,
        "photographs": int(files["photo"].nunique()),
        "patches": len(files),
        "cracks": int((files["label"] == CRACK).sum()),
        **(
            {split: int((files["split"] == split).sum()) for split in SPLITS}
            if "split" in files
            else {}
        ),
        "known by": ", ".join(f"{way} {count:,}" for way, count in ways.items()),
    }
