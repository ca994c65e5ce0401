"""The cached network: what was asked before is not computed again, and never confused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cracks.inference.runtime.cached_network import CachedNetwork, identity_of
from cracks.inference.runtime.openvino_runtime import Batch, Outputs, joined


class CountingNetwork:
    """Gives sum and mean of each row, some batches late as a real one does, and counts batches."""

    def __init__(self) -> None:
        self.computed = 0

    def stream(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        running = []
        for batch in batches:
            self.computed += 1
            flat = batch.reshape(len(batch), -1).astype(np.float32)
            running.append({"features": np.stack([flat.sum(axis=1), flat.mean(axis=1)], axis=1)})
            if len(running) > 2:
                yield running.pop(0)
        yield from running


@pytest.fixture
def network() -> CountingNetwork:
    return CountingNetwork()


@pytest.fixture
def batches() -> list[Batch]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1 + n % 3, 4, 4, 3), np.uint8) for n in range(9)]


def _remembering(network: CountingNetwork, place: Path, identity: str = "one") -> CachedNetwork:
    return CachedNetwork(lambda: network, identity, place / "kept.npz")


def _save(network: CountingNetwork, place: Path, batches: Iterable[Batch]) -> None:
    cached = _remembering(network, place)
    joined(cached.stream(batches))
    cached.save()


def _features(network: CachedNetwork, batches: Iterable[Batch]) -> list[list[list[float]]]:
    return [part["features"].tolist() for part in network.stream(batches)]


def test_what_was_asked_before_is_not_computed_again(
    network: CountingNetwork, batches: list[Batch], tmp_path: Path
) -> None:
    expected = [part["features"].tolist() for part in CountingNetwork().stream(batches)]
    first = _remembering(network, tmp_path)
    assert _features(first, batches) == expected
    first.save()
    assert _features(_remembering(network, tmp_path), batches) == expected
    assert network.computed == len(batches)


def test_old_new_and_repeated_batches_come_in_their_order(
    network: CountingNetwork, batches: list[Batch], tmp_path: Path
) -> None:
    _save(network, tmp_path, batches[::2])
    mixed = [batches[i] for i in (1, 0, 1, 2, 2, 5, 7, 4, 3, 5, 8)]
    expected = [part["features"].tolist() for part in CountingNetwork().stream(mixed)]
    assert _features(_remembering(network, tmp_path), mixed) == expected
    assert network.computed == len(batches[::2]) + len({1, 5, 7, 3})


def test_the_network_is_opened_only_for_something_new(tmp_path: Path, batches: list[Batch]) -> None:
    _save(CountingNetwork(), tmp_path, batches)

    def refuse() -> CountingNetwork:
        raise AssertionError("opened")

    again = CachedNetwork(refuse, "one", tmp_path / "kept.npz")
    assert len(list(again.stream(batches))) == len(batches)


def test_the_same_bytes_in_another_shape_are_another_question(
    network: CountingNetwork, tmp_path: Path
) -> None:
    batch = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    remembering = _remembering(network, tmp_path)
    shapes = [rows.shape for rows in _arrays(remembering, [batch, batch.reshape(3, 4, 4, 1)])]
    assert shapes == [(1, 2), (3, 2)]


def _arrays(network: CachedNetwork, batches: Iterable[Batch]) -> list[np.ndarray]:
    return [part["features"] for part in network.stream(batches)]


def test_another_network_knows_nothing(
    network: CountingNetwork, batches: list[Batch], tmp_path: Path
) -> None:
    _save(network, tmp_path, batches)
    joined(_remembering(network, tmp_path, "another").stream(batches))
    assert network.computed == 2 * len(batches)


@pytest.mark.parametrize("damage", ["cut", "emptied", "text"])
def test_a_damaged_file_is_as_good_as_none(
    network: CountingNetwork, batches: list[Batch], tmp_path: Path, damage: str
) -> None:
    _save(network, tmp_path, batches)
    file = tmp_path / "kept.npz"
    content = {"cut": file.read_bytes()[:-200], "emptied": b"", "text": b"features"}[damage]
    file.write_bytes(content)
    assert len(_features(_remembering(network, tmp_path), batches)) == len(batches)
    assert network.computed == 2 * len(batches)


def test_what_is_no_longer_asked_is_not_kept(
    network: CountingNetwork, batches: list[Batch], tmp_path: Path
) -> None:
    for asked in (batches, batches[:2]):
        _save(network, tmp_path, asked)
    joined(_remembering(network, tmp_path).stream(batches))
    assert network.computed == len(batches) + len(batches[2:])


def test_equal_questions_in_any_order_are_kept_as_equal_bytes(
    batches: list[Batch], tmp_path: Path
) -> None:
    files = []
    for name, asked in (("a", batches), ("b", batches[::-1])):
        (tmp_path / name).mkdir()
        _save(CountingNetwork(), tmp_path / name, asked)
        files.append((tmp_path / name / "kept.npz").read_bytes())
    assert files[0] == files[1]


def test_nothing_asked_is_kept_too(network: CountingNetwork, tmp_path: Path) -> None:
    _remembering(network, tmp_path).save()
    assert list(_remembering(network, tmp_path).stream([])) == []


def test_a_network_is_told_from_others_by_its_files_and_its_precision(tmp_path: Path) -> None:
    (tmp_path / "network.bin").write_bytes(b"weights")
    before = identity_of(tmp_path, "f32")
    assert identity_of(tmp_path, "f32") == before
    assert identity_of(tmp_path, "bf16") != before
    (tmp_path / "network.bin").write_bytes(b"others")
    assert identity_of(tmp_path, "f32") != before
