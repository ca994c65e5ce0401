"""What a cluster is told and what it says, without one."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from cracks.cluster import runner
from cracks.cluster.pieces import Outcome, Piece, by_number, require_no_failure
from cracks.cluster.result_store import (
    CONTENT,
    fetch_folder,
    is_done,
    read_result,
    send_files,
    write_result,
)
from cracks.cluster.settings import ClusterSettings, cluster_settings
from cracks.cluster.versions import differences, library_versions, own_versions
from cracks.cluster.worker import Unfit
from cracks.errors import ClusterError
from cracks.storage.object_store import FolderStore
from cracks.system.parallel import in_one_thread, prefetch_map


def outcome(number: int, failure: str | None = None) -> Outcome:
    return Outcome(Piece(number, f"part-{number}", f"key-{number}", 1, work=None), failure)  # type: ignore[arg-type]


def test_without_an_address_this_machine_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.setenv("CRACKS_CLUSTER_STORE", "s3://bucket/prefix")
    assert cluster_settings() is None


@pytest.mark.parametrize(
    ("address", "store", "said"),
    [
        ("tcp://host", "s3://bucket", "is no address of a scheduler"),
        ("http://host:8786/status", "s3://bucket", "is no address of a scheduler"),
        ("tcp://host:8786", "", "CRACKS_CLUSTER_STORE is not"),
    ],
)
def test_half_an_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str, store: str, said: str
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    monkeypatch.setenv("CRACKS_CLUSTER_STORE", store)
    with pytest.raises(ClusterError, match=said):
        cluster_settings()


@pytest.mark.parametrize("address", ["tcp://host:8786", "tls://10.0.0.7:8786", "host:8786"])
def test_a_whole_address_is_taken(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    monkeypatch.setenv("CRACKS_CLUSTER_STORE", "/mnt/shared")
    settings = cluster_settings()
    assert settings is not None
    assert (settings.address, settings.store) == (address, "/mnt/shared")


def test_what_differs_is_said_by_name_and_what_there_is_more_is_no_difference() -> None:
    ours = {"numpy": "2.4.6", "openvino": "2026.4.1"}
    assert differences({**ours, "dask": "2026.8.0"}, ours) == []
    assert differences({"numpy": "2.3.0"}, ours) == [
        "numpy 2.3.0 instead of 2.4.6",
        "openvino none instead of 2026.4.1",
    ]


def test_every_package_that_computes_is_compared_and_a_kept_result_outlives_a_commit() -> None:
    own = own_versions()
    assert "none" not in own.values()
    assert {"python", "numpy", "openvino", "opencv-python-headless"} <= set(own)
    assert set(own) - set(library_versions(own)) == {"the code of cracks"}


def test_results_are_handed_over_in_the_order_of_the_pieces_failed_ones_too() -> None:
    found = [outcome(2), outcome(0), outcome(1, "broken"), outcome(4), outcome(3)]
    assert [one.piece.number for one in by_number(found)] == [0, 1, 2, 3, 4]


def test_what_was_taken_is_removed_from_the_store_also_where_a_piece_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, found = FolderStore(tmp_path), [*map(outcome, range(3)), outcome(3, "broken")]
    for one in found[:3]:
        write_result(store, one.piece.key, b"result")
    run = SimpleNamespace(store=store, outcomes=lambda: found, end=lambda: None)
    monkeypatch.setattr(runner, "_Run", lambda *_: run)
    left: list[int] = []
    taken = runner.results(ClusterSettings("host:8786", ""), [], "", behind=1)
    with pytest.raises(ClusterError, match="1 of 4 pieces"):
        left.extend(len(store.sizes()) for _ in taken)
    assert [*left, len(store.sizes())] == [3, 3, 2, 0]


def test_pieces_that_failed_are_named_in_one_line() -> None:
    require_no_failure([], 3)
    failures = [outcome(number, "it is damaged.") for number in range(7)]
    with pytest.raises(ClusterError, match=r"7 of 9 pieces .*part-0 \(it is damaged\)") as found:
        require_no_failure(failures, 9)
    assert "part-4 and 2 more" in str(found.value)
    assert "\n" not in str(found.value)


def test_files_that_are_sent_are_sent_once_and_come_back_whole_or_not(tmp_path: Path) -> None:
    store, sent = FolderStore(tmp_path / "store"), tmp_path / "network.xml"
    sent.write_bytes(b"layers")
    key = send_files(store, [sent])
    stamp = (tmp_path / "store" / key / CONTENT).stat().st_mtime_ns
    assert send_files(store, [sent]) == key
    assert (tmp_path / "store" / key / CONTENT).stat().st_mtime_ns == stamp
    fetch_folder(store, key, tmp_path / "worker")
    assert (tmp_path / "worker" / "network.xml").read_bytes() == b"layers"
    store.write(f"{key}/network.xml", b"others")
    with pytest.raises(ClusterError, match="is damaged"):
        fetch_folder(store, key, tmp_path / "worker")
    with pytest.raises(ClusterError, match="is missing in the store"):
        fetch_folder(store, "networks/unknown", tmp_path / "worker")


def test_a_refusal_of_a_worker_survives_the_way_back() -> None:
    error = pickle.loads(pickle.dumps(Unfit("it has numpy 1", "tcp://10.0.0.7:4000")))
    assert (str(error), error.worker) == ("it has numpy 1", "tcp://10.0.0.7:4000")


def test_a_worker_of_one_thread_computes_nothing_ahead() -> None:
    begun: list[int] = []

    def function(number: int) -> int:
        begun.append(number)
        return number

    with in_one_thread():
        results = prefetch_map(function, range(9))
        assert next(results) == 0
        assert begun == [0]
        assert [*results] == [*range(1, 9)]


def test_a_result_that_was_cut_short_is_none(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert not is_done(store, "features/1.npy")
    write_result(store, "features/1.npy", b"numbers")
    assert is_done(store, "features/1.npy")
    assert read_result(store, "features/1.npy") == b"numbers"
    whole = store.read("features/1.npy")
    for length in (0, 10, len(whole) - 1):
        store.write("features/1.npy", whole[:length])
        assert not is_done(store, "features/1.npy")
