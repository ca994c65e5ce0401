"""The feature store: what is known is never computed again, and nothing else is taken for known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cracks.training.features import store as module
from cracks.training.features.arrays import features_file
from cracks.training.features.store import INDEX, FeatureStore
from tests.unit.builders import write_files


@pytest.fixture
def featurizer(tmp_path: Path) -> Path:
    return write_files(tmp_path / "featurizer", {"network.xml": b"<net/>", "network.bin": b"1"})


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    names = [f"part-{number:05}.parquet" for number in range(3)]
    folder = write_files(tmp_path / "images", {name: name.encode() for name in names})
    return [folder / name for name in names]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


def _store(folder: Path, featurizer: Path, precision: str = "f32") -> FeatureStore:
    return FeatureStore(folder, featurizer, precision)


def _fill(folder: Path, featurizer: Path, shards: list[Path]) -> None:
    store = _store(folder, featurizer)
    for number, shard in enumerate(shards):
        store.put(shard, np.full((2, 4), number, np.float32))
    store.prune(shards)


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_an_empty_store_misses_every_shard(
    folder: Path, featurizer: Path, shards: list[Path]
) -> None:
    assert _store(folder, featurizer).missing(shards) == shards


def test_what_is_known_is_found_again_and_is_what_was_kept(
    folder: Path, featurizer: Path, shards: list[Path]
) -> None:
    _fill(folder, featurizer, shards)
    assert _store(folder, featurizer).missing(shards) == []
    for number, shard in enumerate(shards):
        kept = np.load(features_file(folder, shard.name), allow_pickle=False)
        assert (kept == number).all()
        assert kept.dtype == np.float32


def test_only_new_shards_are_missing(folder: Path, featurizer: Path, shards: list[Path]) -> None:
    _fill(folder, featurizer, shards[:2])
    assert _store(folder, featurizer).missing(shards) == shards[2:]


def _write(file: Path) -> None:
    file.write_bytes(b"other")


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (lambda shards, *_: _write(shards[1]), [1]),
        (lambda shards, *_: _swap(shards[0], shards[1]), [0, 1]),
        (lambda _, featurizer, __: _write(featurizer / "network.xml"), [0, 1, 2]),
        (lambda _, featurizer, __: _write(featurizer / "network.bin"), [0, 1, 2]),
        (lambda _, featurizer, __: _write(featurizer / "further"), [0, 1, 2]),
        (lambda shards, _, folder: features_file(folder, shards[2].name).unlink(), [2]),
    ],
    ids=["a shard", "two swapped", "network", "weights", "another file", "an array removed"],
)
def test_what_is_not_the_same_any_more_is_missing(
    folder: Path,
    featurizer: Path,
    shards: list[Path],
    change: Callable[[list[Path], Path, Path], None],
    missing: list[int],
) -> None:
    _fill(folder, featurizer, shards)
    change(shards, featurizer, folder)
    assert _store(folder, featurizer).missing(shards) == [shards[i] for i in missing]


def test_a_network_is_told_by_its_files_and_precision_and_not_by_its_place(
    folder: Path, featurizer: Path, shards: list[Path]
) -> None:
    _fill(folder, featurizer, shards)
    assert _store(folder, featurizer, "bf16").missing(shards) == shards
    moved = featurizer.rename(featurizer.with_name("moved"))
    assert _store(folder, moved).missing(shards) == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": 1}'])
def test_an_index_that_says_nothing_leaves_every_shard_missing(
    folder: Path, featurizer: Path, shards: list[Path], content: bytes | None
) -> None:
    _fill(folder, featurizer, shards)
    (folder / INDEX).unlink() if content is None else (folder / INDEX).write_bytes(content)
    store = _store(folder, featurizer)
    assert store.missing(shards) == shards
    store.put(shards[0], np.zeros((2, 4)))
    assert store.missing(shards) == shards[1:]


class Killed(BaseException):
    """What ends a process in the middle of anything."""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_a_killed_run_did_not_finish_is_missing_and_the_rest_is_known(
    folder: Path,
    featurizer: Path,
    shards: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    _fill(folder, featurizer, shards)
    shards[1].write_bytes(b"other")
    store, moved = _store(folder, featurizer), 0
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        nonlocal moved
        moved += 1
        if moved == at:
            raise Killed
        return replace(self, target)

    # Killed before the first move (of the index), before the second (of the array), or before the
    # third (of the index again).
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            store.put(shards[1], np.full((2, 4), 9, np.float32))
    again = _store(folder, featurizer)
    assert again.missing(shards) == [shards[1]]
    again.put(shards[1], np.full((2, 4), 9, np.float32))
    assert again.missing(shards) == []
    assert (np.load(features_file(folder, shards[1].name)) == 9).all()


def test_an_index_never_names_an_array_of_the_shard_before(
    folder: Path, featurizer: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(folder, featurizer, shards)
    before = shards[1].read_bytes()
    shards[1].write_bytes(b"other")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        # After the array was replaced, before the index names it.
        store = _store(folder, featurizer)
        write = store._write
        patched.setattr(
            store, "_write", lambda index: killed() if shards[1].name in index else write(index)
        )
        with pytest.raises(Killed):
            store.put(shards[1], np.full((2, 4), 9, np.float32))
    # The shard is as it was, and its old features are gone all the same.
    shards[1].write_bytes(before)
    assert _store(folder, featurizer).missing(shards) == [shards[1]]


def test_what_belongs_to_no_shard_is_removed(
    folder: Path, featurizer: Path, shards: list[Path]
) -> None:
    _fill(folder, featurizer, shards)
    write_files(folder, {".part-00000.npy.partial": b"half", "part-00009.npy": b"old", "x": b""})
    store = _store(folder, featurizer)
    store.prune(shards[:2])
    assert _names(folder) == {"part-00000.npy", "part-00001.npy", INDEX}
    assert set(json.loads((folder / INDEX).read_text())) == {shard.name for shard in shards[:2]}
    assert store.missing(shards) == shards[2:]


def test_the_order_in_which_shards_came_leaves_no_trace(
    tmp_path: Path, featurizer: Path, shards: list[Path]
) -> None:
    _fill(tmp_path / "one", featurizer, shards)
    _fill(tmp_path / "other", featurizer, shards)
    store = _store(tmp_path / "other", featurizer)
    store.put(shards[0], np.full((2, 4), 0, np.float32))
    store.prune(shards)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("one", "other")
    )
    assert first == second


def test_a_shard_is_read_once_for_its_digest(
    folder: Path, featurizer: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    digest_of_file = module.digest_of_file

    def request_context(path: Path) -> str:
        read.append(path)
        return digest_of_file(path)

    monkeypatch.setattr(module, "digest_of_file", request_context)
    store = _store(folder, featurizer)
    for shard in store.missing(shards):
        store.put(shard, np.zeros((2, 4)))
    assert sorted(path for path in read if path in shards) == shards
