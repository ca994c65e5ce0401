"""Features: read back for the patches of one split, and images decoded in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cracks.errors import UnreadableImage, WorkspaceError
from cracks.features import decoded_batches, features_file, split_features
from cracks.images import decode_to_size
from cracks.labels import CRACK, NO_CRACK
from tests.unit.builders import picture

#: Two shards; `b` lies in both, as a copy.
MANIFEST = pa.table(
    {
        "id": ["c", "b", "b", "a", "d"],
        "shard": ["part-00000.parquet"] * 2 + ["part-00001.parquet"] * 3,
        "row": [0, 1, 0, 1, 2],
    }
)
SPLITS = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "label": [CRACK, NO_CRACK, CRACK, CRACK],
        "split": ["train", "train", "train", "test"],
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(features_file(tmp_path, "part-00000.parquet"), np.array([[0.0, 0.5], [1.0, 1.5]]))
    second = np.array([[2.0, 2.5], [3.0, 3.5], [4.0, 4.5]])
    np.save(features_file(tmp_path, "part-00001.parquet"), second)
    return tmp_path


def test_each_distinct_patch_of_a_split_has_its_own_features(folder: Path) -> None:
    train = split_features(folder, MANIFEST, SPLITS, "train")
    assert train.ids == ["a", "b", "c"]
    assert train.cracked.tolist() == [True, False, True]
    # Of the two copies of `b` the first stands for both.
    assert train.features.tolist() == [[3.0, 3.5], [1.0, 1.5], [0.0, 0.5]]


@pytest.mark.parametrize("content", [None, b"", b"not an array", "cut"])
def test_missing_or_damaged_features_say_how_to_remake_them(
    folder: Path, content: bytes | str | None
) -> None:
    file = folder / "part-00001.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    else:
        file.unlink()
    with pytest.raises(WorkspaceError, match=r"part-00001\.npy .*`dvc repro featurize`"):
        split_features(folder, MANIFEST, SPLITS, "train")


def test_features_that_do_not_match_their_shard_are_refused(folder: Path) -> None:
    np.save(folder / "part-00001.npy", np.zeros((2, 2)))
    with pytest.raises(WorkspaceError, match=r"part-00001\.npy"):
        split_features(folder, MANIFEST, SPLITS, "test")


@pytest.mark.parametrize(("images", "sizes"), [(0, []), (1, [1]), (4, [2, 2]), (5, [2, 2, 1])])
def test_images_come_in_batches_and_in_order(images: int, sizes: list[int]) -> None:
    contents = [picture(i) for i in range(images)]
    batches = list(decoded_batches(contents, size=16, batch_size=2))
    assert [len(batch) for batch in batches] == sizes
    decoded = [patch for batch in batches for patch in batch]
    for patch, content in zip(decoded, contents, strict=True):
        assert (patch == decode_to_size(content, 16)).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["one.jpg", "two.jpg"], "^two.jpg: empty file$"), (None, "^empty file$")],
)
def test_an_image_that_does_not_decode_is_refused_by_name(
    names: list[str] | None, message: str
) -> None:
    with pytest.raises(UnreadableImage, match=message):
        list(decoded_batches([picture(), b""], 16, 8, names))
