"""Features: computed shard by shard, read back for the patches of one split, in the order asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.shards import ShardRow, ShardWriter, shard_files
from cracks.errors import DataError, UnreadableImage, WeightsError, WorkspaceError
from cracks.images.batches import decoded_batches
from cracks.images.decode import Pixels, decode_to_size
from cracks.inference.runtime.openvino_runtime import Batch, Outputs
from cracks.system import parallel as ahead
from cracks.training.features.arrays import FeatureRows, features_file, split_features
from cracks.training.features.compute import features_of_shards
from tests.unit.builders import picture

#: Two shards; `b` lies in both, as a copy.
MANIFEST = pa.table(
    {
        "id": ["c", "b", "b", "a", "d", "e"],
        "shard": ["part-00000.parquet"] * 2 + ["part-00001.parquet"] * 4,
        "row": [0, 1, 0, 1, 2, 3],
    }
)
SPLITS = pa.table(
    {
        "id": ["a", "b", "c", "d", "e"],
        "label": [CRACK, NO_CRACK, CRACK, CRACK, NO_CRACK],
        "group": ["a", "b", "a", "d", "e"],
        "split": ["train", "train", "train", "test", "test"],
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = np.array([[0.0, 0.5], [1.0, 1.5]], np.float32)
    second = np.array([[2.0, 2.5], [3.0, 3.5], [4.0, 4.5], [5.0, 5.5]], np.float32)
    np.save(features_file(tmp_path, "part-00000.parquet"), first)
    np.save(features_file(tmp_path, "part-00001.parquet"), second)
    return tmp_path


# --- read back ------------------------------------------------------------------------------------


def test_each_distinct_patch_of_a_split_has_its_own_features(folder: Path) -> None:
    train = split_features(folder, MANIFEST, SPLITS, "train")
    assert train.split == "train"
    assert train.ids == ["a", "b", "c"]
    assert train.groups == ["a", "b", "a"]
    assert train.cracked.tolist() == [True, False, True]
    # Of the two copies of `b` the first stands for both.
    assert train.features.all().tolist() == [[3.0, 3.5], [1.0, 1.5], [0.0, 0.5]]


def test_some_patches_of_a_split_keep_what_belongs_to_each(folder: Path) -> None:
    part = split_features(folder, MANIFEST, SPLITS, "train").part(np.array([2, 0]))
    assert (part.split, part.ids, part.groups) == ("train", ["c", "a"], ["a", "a"])
    assert part.cracked.tolist() == [True, True]
    assert part.features.all().tolist() == [[0.0, 0.5], [3.0, 3.5]]
    again = part.part(np.array([1]))
    assert (again.ids, again.features.all().tolist()) == (["a"], [[3.0, 3.5]])


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


@pytest.mark.parametrize(
    ("shape", "split"),
    [((2, 2), "test"), ((1, 2), "train"), ((4, 3), "train"), ((4, 2, 2), "train")],
)
def test_features_that_do_not_match_their_shard_are_refused(
    folder: Path, shape: tuple[int, ...], split: str
) -> None:
    np.save(folder / "part-00001.npy", np.zeros(shape, np.float32))
    with pytest.raises(WorkspaceError, match=r"part-00001\.npy does not match its shard"):
        split_features(folder, MANIFEST, SPLITS, split)


@pytest.mark.parametrize(("kept", "absent"), [(CRACK, NO_CRACK), (NO_CRACK, CRACK)])
def test_a_split_without_one_of_the_labels_is_refused_by_name(
    folder: Path, kept: str, absent: str
) -> None:
    splits = SPLITS.filter(pa.compute.equal(SPLITS["label"], kept))
    with pytest.raises(
        DataError, match=rf"split `train` has no patch labelled {absent}\. Add photographs"
    ):
        split_features(folder, MANIFEST, splits, "train")
    with pytest.raises(DataError, match="split `validation` has no patch"):
        split_features(folder, MANIFEST, SPLITS, "validation")


def _rows(folder: Path, order: npt.NDArray[np.intp]) -> tuple[FeatureRows, npt.NDArray[np.uint8]]:
    """Return rows of three arrays on disk, dealt in an order, and what they should be."""
    whole = np.random.default_rng(0).integers(0, 255, (23, 4, 4, 3), np.uint8)
    bounds = [0, 9, 10, 23]
    arrays = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        np.save(folder / f"{number}.npy", whole[start:end])
        arrays.append(np.load(folder / f"{number}.npy", mmap_mode="r"))
    array_of = np.searchsorted(bounds, order, side="right") - 1
    return FeatureRows(arrays, array_of, order - np.array(bounds)[array_of]), whole[order]


@given(positions=st.lists(st.integers(0, 22), max_size=30), seed=st.integers(0, 5))
def test_rows_of_several_files_come_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, positions: list[int], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(23)
    rows, expected = _rows(tmp_path_factory.mktemp("rows"), order)
    taken = rows.take(positions)
    assert (taken.dtype, taken.shape) == (np.uint8, (len(positions), 4, 4, 3))
    np.testing.assert_array_equal(taken, expected[np.array(positions, int)])


def test_all_rows_and_their_batches_are_the_same_numbers(tmp_path: Path) -> None:
    rows, expected = _rows(tmp_path, np.random.default_rng(1).permutation(23))
    assert (len(rows), rows.shape) == (23, (4, 4, 3))
    np.testing.assert_array_equal(rows.all(), expected)
    batches = list(rows.batches(5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(batches), expected)


def test_rows_that_were_taken_are_the_callers_own(tmp_path: Path) -> None:
    rows, expected = _rows(tmp_path, np.arange(23))
    rows.take([0, 1])[:] = 0
    np.testing.assert_array_equal(rows.all(), expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_finite_numbers_are_refused_with_the_remedy(
    folder: Path, wrong: float
) -> None:
    file = features_file(folder, "part-00001.parquet")
    array = np.load(file)
    array[1, 1] = wrong  # of `a`
    np.save(file, array)
    train = split_features(folder, MANIFEST, SPLITS, "train")
    assert train.features.take([1, 2]).tolist() == [[1.0, 1.5], [0.0, 0.5]]
    with pytest.raises(DataError, match=r"not finite.*`dvc repro featurize`") as refusal:
        train.features.all()
    assert "\n" not in str(refusal.value)


# --- decoded --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "sizes"), [(0, []), (1, [1]), (4, [2, 2]), (5, [2, 2, 1])])
def test_images_come_in_batches_and_in_order(images: int, sizes: list[int]) -> None:
    contents = [picture(i) for i in range(images)]
    batches = list(decoded_batches(contents, size=16, batch_size=2))
    assert [len(batch) for batch in batches] == sizes
    decoded = [patch for batch in batches for patch in batch]
    for patch, content in zip(decoded, contents, strict=True):
        assert (patch == decode_to_size(content, 16)).all()


@pytest.mark.parametrize("threads", [1, 4])
def test_images_keep_their_order_whichever_thread_is_done_first(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(ahead, "THREADS", threads)
    later = threading.Event()

    def decode(content: bytes, size: int) -> Pixels:
        number = int(content)
        if threads > 1 and number == 0:
            assert later.wait(10), "nothing was decoded at the same time"
        if number >= 3:
            later.set()
        return np.full((size, size, 3), number, np.uint8)

    contents = [str(number).encode() for number in range(40)]
    batches = decoded_batches(contents, 2, 3, decode=decode)
    assert [int(patch[0, 0, 0]) for batch in batches for patch in batch] == list(range(40))


def test_only_so_many_batches_are_decoded_ahead() -> None:
    decoded = []

    def decode(content: bytes, size: int) -> Pixels:
        decoded.append(content)
        return np.zeros((size, size, 3), np.uint8)

    batches = decoded_batches([b"1"] * 100, 2, 2, decode=decode)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(decoded) <= 2 * ahead.WAITING


@pytest.mark.parametrize("named", [True, False])
def test_of_many_images_the_one_that_does_not_decode_is_refused_by_its_name(named: bool) -> None:
    contents = [picture(i, size=8) for i in range(60)]
    contents[47] = b""
    names = [f"{number}.jpg" for number in range(60)] if named else None
    with pytest.raises(
        UnreadableImage, match=r"^47\.jpg: empty file$" if named else "^empty file$"
    ):
        list(decoded_batches(contents, 8, 4, names))


# --- computed -------------------------------------------------------------------------------------


class Computing:
    """A network that computes every image by itself, and records what it was given."""

    def __init__(self, compute: Callable[[Batch], npt.NDArray[Any]]) -> None:
        self._compute = compute
        self.sizes: list[int] = []

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        for batch in batches:
            self.sizes.append(len(batch))
            yield {"features": self._compute(batch).astype(np.float32)}


def _brightness(batch: Batch) -> npt.NDArray[Any]:
    return np.stack([batch.mean(axis=(1, 2, 3)), batch[:, 0, 0, 0]], axis=1)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Shards of 3, 3 and 1 pictures."""
    writer = ShardWriter(tmp_path / "images", shard_rows=3)
    for number in range(7):
        writer.add(ShardRow(f"{number:064}", CRACK, f"{number}.png", _grey(number)))
    writer.flush()
    return shard_files(tmp_path / "images")


def _grey(number: int) -> bytes:
    return picture(number, size=8, format_="PNG")


def test_every_shard_gets_the_features_of_its_own_patches(shards: list[Path]) -> None:
    done: list[int] = []
    network = Computing(_brightness)
    computed = list(features_of_shards(network, shards, 8, 2, done.append))
    assert [shard for shard, _ in computed] == shards
    assert [len(rows) for _, rows in computed] == [3, 3, 1]
    # No batch holds patches of two shards.
    assert network.sizes == done == [2, 1, 2, 1, 1]
    expected = _brightness(np.stack([decode_to_size(_grey(number), 8) for number in range(7)]))
    rows = np.concatenate([rows for _, rows in computed])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_features_of_a_shard_are_there_before_the_last_one_is_read(shards: list[Path]) -> None:
    network = Computing(_brightness)
    next(features_of_shards(network, shards, 8, 3, lambda _: None))
    assert network.sizes == [3]


def test_pixels_are_kept_as_the_nearest_whole_numbers(shards: list[Path]) -> None:
    resized = Computing(lambda batch: np.clip(batch + np.float32(0.4), 0, 255))
    computed = list(features_of_shards(resized, shards, 8, 2, lambda _: None))
    assert {rows.dtype for _, rows in computed} == {np.dtype(np.uint8)}
    pixels = np.concatenate([rows for _, rows in computed])
    for number, patch in enumerate(pixels):
        np.testing.assert_array_equal(patch, decode_to_size(_grey(number), 8))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_network_that_gives_no_finite_numbers_is_refused_with_the_shard(
    shards: list[Path], wrong: float
) -> None:
    target = float(_brightness(decode_to_size(_grey(4), 8)[None])[0, 0])

    def broken(batch: Batch) -> npt.NDArray[Any]:
        rows = _brightness(batch)
        rows[np.isclose(rows[:, 0], target), 1] = wrong
        return rows

    computed = features_of_shards(Computing(broken), shards, 8, 2, lambda _: None)
    assert next(computed)[0] == shards[0]
    with pytest.raises(WeightsError, match=r"featurize\.weights: .*part-00001\.parquet") as refusal:
        next(computed)
    assert "\n" not in str(refusal.value)


def test_no_shard_gives_nothing() -> None:
    assert list(features_of_shards(Computing(_brightness), [], 8, 2, lambda _: None)) == []
