"""The tables that are validated: a row a file, and what it shares with which others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from cracks.dataset.labels import CRACK, LEFT_OUT, NO_CRACK
from cracks.dataset.manifest import QUARANTINE_COLUMNS, SCHEMA
from cracks.dataset.split.assignment import split_table
from cracks.dataset.validate.checked_tables import (
    SEEN,
    files_table,
    patches_table,
    splits_table,
)
from cracks.dataset.validate.expectations import PATCH_COLUMNS
from cracks.workspace.params_file import load_params
from cracks.workspace.tables import write_csv
from tests.unit.builders import ROOT, likeness_of


def _manifest(*files: tuple[str, str]) -> pd.DataFrame:
    """Return the manifest of files, each (id, label); what they look like does not matter."""
    rows = [
        dict.fromkeys(SCHEMA.names, 0)
        | {"id": id_, "label": label, "path": f"{i}.jpg", "source": "zip", "fingerprint": b""}
        for i, (id_, label) in enumerate(files)
    ]
    return pd.DataFrame(rows)[list(SEEN)]


def _splits(**rows: str) -> pd.DataFrame:
    """Return the splits of patches, each `near_copies group split`."""
    columns = {id_: row.split(" ", 2) for id_, row in rows.items()}
    return pd.DataFrame(
        [
            {"id": id_, "label": CRACK, "near_copies": near, "group": group, "split": split}
            for id_, (near, group, split) in columns.items()
        ]
    )


def test_the_columns_are_those_that_the_expectations_know() -> None:
    table = patches_table(_manifest(("a", CRACK)), _splits(a="a a train"))
    assert list(table.columns) == PATCH_COLUMNS


def test_every_file_is_a_row_in_the_order_of_the_manifest() -> None:
    manifest = _manifest(("b", CRACK), ("a", NO_CRACK), ("b", CRACK))
    table = patches_table(manifest, _splits(a="a a train", b="b b test"))
    assert table["id"].tolist() == ["b", "a", "b"]
    assert table["path"].tolist() == ["0.jpg", "1.jpg", "2.jpg"]
    assert table["split"].tolist() == ["test", "train", "test"]
    assert "split" not in manifest


def test_labels_are_counted_by_content_and_by_picture() -> None:
    manifest = _manifest(("a", CRACK), ("a", NO_CRACK), ("b", CRACK), ("c", NO_CRACK), ("d", CRACK))
    splits = _splits(a="a a train", b="b b train", c="b b train", d="d b train")
    table = patches_table(manifest, splits)
    assert table["labels_of_content"].tolist() == [2, 2, 1, 1, 1]
    assert table["labels_of_picture"].tolist() == [2, 2, 2, 2, 1]


def test_splits_are_counted_by_picture_and_by_group() -> None:
    manifest = _manifest(*((id_, CRACK) for id_ in "abcde"))
    splits = _splits(a="a g train", b="a h test", c="c g test", d="d i train", e="e i train")
    table = patches_table(manifest, splits)
    assert table["splits_of_picture"].tolist() == [2, 2, 1, 1, 1]
    assert table["splits_of_group"].tolist() == [2, 1, 2, 1, 1]


def test_what_is_left_out_stands_in_no_split() -> None:
    manifest = _manifest(*((id_, CRACK) for id_ in "abcd"))
    splits = _splits(a="a g train", b="a g left out", c="c h left out", d="c h left out")
    table = patches_table(manifest, splits)
    assert table["splits_of_picture"].tolist() == [1, 1, 0, 0]
    assert table["splits_of_group"].tolist() == [1, 1, 0, 0]
    assert table["split"].tolist() == ["train", LEFT_OUT, LEFT_OUT, LEFT_OUT]


def test_a_picture_that_was_left_out_ties_no_two_splits_together() -> None:
    params = load_params(ROOT / "params.yaml").split
    known = {f"patch{i}": CRACK for i in range(40)}
    earlier = split_table(likeness_of(known), params, None)
    sides = dict(zip(earlier["id"].to_pylist(), earlier["split"].to_pylist(), strict=True))
    train, test = (
        next(id_ for id_, side in sides.items() if side == wanted) for wanted in ("train", "test")
    )
    # A new picture that is near to one in train and to one in test, which are not near themselves.
    new = likeness_of({**known, "new": CRACK}, [("new", train), ("new", test)])
    new = replace(new, near_copies=new.recrops)
    splits = split_table(new, params, earlier).to_pandas()
    assert splits.set_index("id").loc["new", "split"] == LEFT_OUT
    table = patches_table(_manifest(*((id_, CRACK) for id_ in [*known, "new"])), splits)
    assert table["splits_of_picture"].max() == 1


def test_each_patch_says_its_split_and_label_and_whether_it_is_used() -> None:
    splits = _splits(a="a a train", b="b b left out", c="c c test")
    splits.loc[2, "label"] = NO_CRACK
    table = splits_table(splits)
    assert list(table.columns) == ["id", "label", "split_and_label", "crack_used", "clean_used"]
    assert table["split_and_label"].tolist() == [
        "train, crack",
        "left out, crack",
        "test, no crack",
    ]
    assert table["crack_used"].tolist()[:2] == ["yes", "no"]
    assert table["clean_used"].tolist()[2:] == ["yes"]
    assert table[["crack_used", "clean_used"]].isna().sum().tolist() == [1, 2]


def _quarantine(folder: Path, *reasons: str) -> pd.DataFrame:
    """Return a list of refused files as validate reads it."""
    rows = [
        {"source": "zip", "path": f"bad{i}.jpg", "label": CRACK, "reason": reason}
        for i, reason in enumerate(reasons)
    ]
    write_csv(rows, folder / "quarantine.csv", QUARANTINE_COLUMNS)
    return pd.read_csv(folder / "quarantine.csv", dtype=str, keep_default_na=False)


def test_each_file_says_whether_it_decoded_and_why_it_was_refused(tmp_path: Path) -> None:
    wrong_size = "wrong size: 9×9, not 227×227 pixels"
    table = files_table(_manifest(("a", NO_CRACK)), _quarantine(tmp_path, "empty file", wrong_size))
    assert list(table.columns) == ["path", "label", "reason", "decoded", "accepted"]
    assert table["path"].tolist() == ["0.jpg", "bad0.jpg", "bad1.jpg"]
    assert table["reason"].tolist() == ["", "empty file", wrong_size]
    assert table["decoded"].tolist() == ["yes", "no", "yes"]
    assert table["accepted"].tolist() == ["yes", "no", "no"]


def test_where_no_file_was_refused_all_are_accepted(tmp_path: Path) -> None:
    table = files_table(_manifest(("a", CRACK), ("b", CRACK)), _quarantine(tmp_path))
    assert table["accepted"].tolist() == table["decoded"].tolist() == ["yes", "yes"]
