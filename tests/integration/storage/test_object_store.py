"""One store of objects: the same rules in a folder and in a bucket, and what one of them adds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from s3 import Response, S3Proxy, S3Server, slow_down

from cracks.errors import StorageError, StorageUnavailable, UnreadableImage
from cracks.images.files import content_of, image_file
from cracks.storage import client, object_store
from cracks.storage.object_store import ObjectStore, open_store
from tests.unit.builders import tree, write_files


@pytest.fixture
def bucket(s3_server: S3Server, s3_proxy: S3Proxy) -> Path:
    return s3_server.new_bucket()


@pytest.fixture
def in_bucket(bucket: Path) -> ObjectStore:
    return open_store(f"s3://{bucket.name}/kept")


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(tmp_path / "kept")
    found: ObjectStore = request.getfixturevalue("in_bucket")
    return found


# --- in both --------------------------------------------------------------------------------------


def test_where_nothing_was_written_nothing_is_found(store: ObjectStore) -> None:
    assert (store.folders(), store.keys(), store.sizes("features/")) == ([], [], {})
    assert not store.has("features/1.npy")
    store.remove("features/1.npy")


def test_objects_are_listed_by_the_beginning_of_their_keys_in_order(store: ObjectStore) -> None:
    keys = ["features/abc/1.npy", "features/abd/2.npy", "features.json", "ü b+%20&/x"]
    for number, key in enumerate(keys):
        store.write(key, b"x" * number)
    assert store.folders() == ["features", "ü b+%20&"]
    assert store.keys() == sorted(keys)
    assert store.keys("features/ab") == keys[:2]
    assert store.keys("features/abc/") == store.keys("features/abc/1.npy") == keys[:1]
    assert store.keys("features/abc/1.npy/") == store.keys("eatures") == []
    assert store.sizes("features") == {keys[2]: 2, keys[0]: 0, keys[1]: 1}


def test_what_is_written_is_read_until_it_is_written_again_or_removed(store: ObjectStore) -> None:
    for content in (b"one", b"", b"another"):
        store.write("a/b", content)
        assert store.has("a/b")
        assert store.read("a/b") == content
        with store.open("a/b") as file:
            assert (file.read(), file.seek(0), file.read()) == (content, 0, content)
    for _ in ("there", "not any more"):
        store.remove("a/b")
        assert not store.has("a/b")


def test_a_large_file_goes_there_and_comes_back(store: ObjectStore, tmp_path: Path) -> None:
    large = tmp_path / "dump"
    large.write_bytes(bytes(range(256)) * (40 << 10))
    store.write_file("of/dump", large)
    with store.local("of/dump") as local:
        assert local.read_bytes() == large.read_bytes()
    assert store.sizes() == {"of/dump": 10 << 20}


def test_an_object_that_is_gone_is_named(store: ObjectStore) -> None:
    store.write("a/b", b"")
    for ask in (store.read, lambda key: store.open(key).seek(0), lambda key: use(store, key)):
        with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*kept/a/gone"):
            ask("a/gone")


def use(store: ObjectStore, key: str) -> None:
    with store.local(key):
        pass


def test_the_origin_is_a_uri_that_tells_places_apart(store: ObjectStore, bucket: Path) -> None:
    assert store.origin.startswith(("file:///", f"s3://{bucket.name}"))
    assert store.origin.endswith("/kept")


# --- a folder -------------------------------------------------------------------------------------


def test_an_object_that_many_write_at_once_is_always_whole(tmp_path: Path) -> None:
    store, contents = open_store(tmp_path), [bytes([number]) * 100_000 for number in range(32)]
    store.write("result", contents[0])
    with ThreadPool(8) as pool:
        writing = pool.map_async(lambda one: store.write("result", one), contents)
        while not writing.ready():
            assert store.read("result") in contents
        writing.get()
    assert tree(tmp_path).keys() == {"result"}


def test_what_is_being_written_or_hidden_is_listed_only_where_it_is_wanted(tmp_path: Path) -> None:
    names = [".nfs01", "a/.1.npy.0f.partial", "a/1.npy"]
    write_files(tmp_path, dict.fromkeys(names, b""))
    assert open_store(tmp_path).keys() == ["a/1.npy"]
    assert open_store(tmp_path, wanted=lambda _: True).keys() == names


def test_what_vanishes_while_it_is_listed_is_found_out_by_whoever_opens_it(tmp_path: Path) -> None:
    (tmp_path / "merged").symlink_to(tmp_path / "nowhere")
    assert open_store(tmp_path).keys() == ["merged"]
    assert open_store(tmp_path).sizes() == {}


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"secret")
    open_store(tmp_path / "kept").write_file("keys", tmp_path / "keys", private=True)
    assert (tmp_path / "kept" / "keys").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "kept").symlink_to(tmp_path / "kept")
    for ask in (open_store(tmp_path / "kept").keys, open_store(tmp_path / "kept").folders):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            ask()


# --- a bucket -------------------------------------------------------------------------------------


def test_without_boto3_a_bucket_is_refused_at_once_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match=r"boto3 is not installed.*serving-s3"):
        open_store("s3://inspections/answers")


def test_a_missing_bucket_is_told_from_a_missing_object(s3_proxy: S3Proxy, tmp_path: Path) -> None:
    gone = open_store("s3://nowhere-at-all/kept")
    (tmp_path / "file").touch()
    for ask in (
        gone.folders,
        gone.keys,
        lambda: gone.read("a"),
        lambda: gone.write("a", b""),
        lambda: gone.write_file("a", tmp_path / "file"),
    ):
        with pytest.raises(
            StorageError, match=r"there is no bucket nowhere-at-all\. Check the address"
        ):
            ask()


def test_an_image_that_is_gone_is_unreadable_and_a_bucket_that_is_stops_the_work(
    in_bucket: ObjectStore, bucket: Path
) -> None:
    in_bucket.write("pier.jpg", b"pixels")
    assert content_of(image_file(f"{in_bucket.origin}/pier.jpg", "")) == b"pixels"
    in_bucket.remove("pier.jpg")
    with pytest.raises(UnreadableImage, match="cannot be read: No such file"):
        content_of(image_file(f"{in_bucket.origin}/pier.jpg", ""))
    shutil.rmtree(bucket)
    with pytest.raises(StorageError, match="there is no bucket"):
        content_of(image_file(f"{in_bucket.origin}/pier.jpg", ""))


def test_what_breaks_off_is_read_again_and_never_taken_for_whole(
    in_bucket: ObjectStore, s3_proxy: S3Proxy
) -> None:
    in_bucket.write("a", b"content")

    def broken(times: int) -> None:
        left = iter(range(times))

        def spoil(request: str, answer: Response) -> Response:
            answer.sent = 3 if request.startswith("GET") and next(left, None) is not None else None
            return answer

        s3_proxy.spoil = spoil

    broken(2)
    assert in_bucket.read("a") == b"content"
    broken(3)
    with pytest.raises(StorageUnavailable, match="'a' breaks off again and again"):
        in_bucket.read("a")


def test_what_is_altered_on_its_way_is_not_stored(s3_server: S3Server, bucket: Path) -> None:
    class Altering(S3Proxy):
        def answer(
            self, method: str, path: str, headers: Mapping[str, str], body: bytes
        ) -> Response:
            return super().answer(method, path, headers, body[::-1])

    with Altering(s3_server.url) as proxy:
        store = open_store(f"s3://{bucket.name}/kept", endpoint_url=proxy.url)
        with pytest.raises(StorageError, match="BadDigest"):
            store.write("a", b"content")
        assert store.keys() == []


def test_only_a_store_that_retries_asks_again_and_only_after_transient_errors(
    in_bucket: ObjectStore, bucket: Path, s3_proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    monkeypatch.setattr(object_store.time, "sleep", slept.append)
    left = iter(["busy", "busy", "busy"])
    s3_proxy.spoil = lambda _, answer: slow_down() if next(left, None) else answer
    with pytest.raises(StorageUnavailable, match="refuses for now"):
        in_bucket.keys()
    assert slept == []
    retrying = open_store(in_bucket.origin, retry=True)
    assert retrying.keys() == []
    assert slept == [1.0, 2.0]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match="access is denied"):
        open_store(in_bucket.origin, retry=True).keys()
    assert slept == [1.0, 2.0]
    assert [object_store.retry_pause(number) for number in (5, 6, 7)] == [16.0, 30.0, 30.0]
