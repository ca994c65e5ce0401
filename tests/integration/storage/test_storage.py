"""Objects in S3: what is listed, what a mirror downloads, and what it never accepts."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from processes import RunningProcess, StartProcess, free_port
from s3 import ACCESS_KEY, Response, S3Proxy, S3Server, before, slow_down, use_s3

from cracks.errors import StorageError, StorageUnavailable
from cracks.storage import checksums, client
from cracks.storage.addresses import Address, digest_of_listing, parse_address
from cracks.storage.checksums import etag_in_parts, possible_part_sizes
from cracks.storage.client import ensure_bucket, list_objects
from cracks.storage.downloads import partial
from cracks.storage.mirrors import Mirror, mirror
from tests.unit.builders import tree, write_files

PHOTOGRAPHS = {
    f"{label}/{number:05}.jpg": np.random.default_rng(number).bytes(2000 + number)
    for label in ("Positive", "Negative")
    for number in range(4)
}
ONE = "Positive/00003.jpg"
LARGE = np.random.default_rng(0).bytes(3 << 20)

MIRROR_ALL = """
import sys
from pathlib import Path
from cracks.storage.mirrors import mirror
from cracks.storage.addresses import parse_address
mirror(parse_address(sys.argv[1]), Path(sys.argv[2]), lambda key: True)
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket behind a proxy, and a folder to mirror it to."""

    place: Path
    proxy: S3Proxy
    local: Path
    variables: dict[str, str]

    def put(self, files: dict[str, bytes], prefix: str = "photos") -> None:
        write_files(self.place / prefix, files)

    def address(self, prefix: str = "photos") -> Address:
        return parse_address(f"s3://{self.place.name}/{prefix}")

    def keys(self, prefix: str = "photos") -> list[str]:
        return [stored.key for stored in list_objects(self.address(prefix))]

    def mirror(self, wanted: Callable[[str], bool] = lambda _: True) -> Mirror:
        """Bring the folder up to date; what is asked from now on is kept."""
        self.proxy.asked.clear()
        return mirror(self.address(), self.local, wanted)

    @property
    def held(self) -> dict[str, bytes]:
        """What a reader of the folder finds."""
        files = {key: content for key, content in tree(self.local).items() if content is not None}
        return {key: content for key, content in files.items() if not key.startswith(".mirror/")}

    def start_mirror(self, start: StartProcess) -> RunningProcess:
        """Let another process bring the folder up to date."""
        command = [sys.executable, "-c", MIRROR_ALL, str(self.address()), self.local]
        return start(command, variables=self.variables)

    def refused(self, reason: str, kind: type[StorageError] = StorageError) -> str:
        with pytest.raises(kind, match=reason) as refusal:
            self.mirror()
        assert len(str(refusal.value).splitlines()) == 1
        assert type(refusal.value) is kind
        return str(refusal.value)


@pytest.fixture
def empty(s3_server: S3Server, s3_proxy: S3Proxy, tmp_path: Path) -> Bucket:
    variables = s3_server.variables | {"AWS_ENDPOINT_URL": s3_proxy.url}
    return Bucket(s3_server.new_bucket(), s3_proxy, tmp_path / "mirror", variables)


@pytest.fixture
def bucket(empty: Bucket) -> Bucket:
    empty.put(PHOTOGRAPHS)
    return empty


@pytest.fixture
def mirrored(bucket: Bucket) -> Bucket:
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS
    return bucket


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "photos", "photos/", "a/b c/ü", "photos.zip"])
def test_an_address_is_a_bucket_and_a_prefix(prefix: str) -> None:
    address = parse_address(f"s3://inspections/{prefix}")
    assert address == Address("inspections", prefix)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "photos", "/photos", "s3:/bucket/x", "S3://bucket/x", "https://bucket/x"),
        *("s3://", "s3:///x", "s3://a/x", "s3://Bucket/x", "s3://b_cket/x"),
        *("s3://bucket//x", "s3://bucket/x//", "s3://bucket/./x", "s3://bucket/a/../b"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(StorageError, match="s3://") as refusal:
        parse_address(text)
    assert len(str(refusal.value).splitlines()) == 1


# --- listing --------------------------------------------------------------------------------------


def test_more_objects_than_fit_on_a_page_are_listed(empty: Bucket) -> None:
    files = {f"{number:05}.jpg": b"%d" % number for number in range(1100)}
    empty.put(files)
    assert empty.keys() == sorted(files)
    assert len(empty.proxy.asked) > 1, "not tested: everything fitted on one page"
    last = "01099.jpg"
    empty.mirror(lambda key: key == last)
    assert empty.held == {last: files[last]}


def test_objects_at_any_depth_are_listed_by_their_key_below_the_prefix(bucket: Bucket) -> None:
    deep = {"2026/a b/ü %20+&.jpg": b"deep", "2026/x.jpg": b"x"}
    bucket.put(deep)
    assert bucket.keys() == sorted(PHOTOGRAPHS | deep)
    assert bucket.keys("photos/2026/") == ["a b/ü %20+&.jpg", "x.jpg"]
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS | deep


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(bucket: Bucket) -> None:
    bucket.put({"1.jpg": b"old"}, prefix="photos-old")
    bucket.put({"photos.zip": b"zip"}, prefix="")
    assert bucket.keys("photos") == bucket.keys("photos/") == sorted(PHOTOGRAPHS)
    assert bucket.keys("phot") == bucket.keys("photos.zi") == bucket.keys("photos.zip/") == []
    everything = ["photos-old/1.jpg", "photos.zip", *(f"photos/{key}" for key in PHOTOGRAPHS)]
    assert bucket.keys("") == sorted(everything)


@pytest.mark.parametrize(("folder", "name"), [("", "photos.zip"), ("a/b", "photos.zip")])
def test_a_single_object_is_listed_by_its_own_name(bucket: Bucket, folder: str, name: str) -> None:
    bucket.put({name: b"zip", f"{name}.old": b"old"}, prefix=folder)
    address = bucket.address(f"{folder}/{name}".lstrip("/"))
    assert [stored.key for stored in list_objects(address)] == [name]
    mirror(address, bucket.local, lambda _: True)
    assert bucket.held == {name: b"zip"}


def test_what_stands_for_a_folder_is_left_out(bucket: Bucket) -> None:
    bucket.proxy.spoil = rewriting(b"00003.jpg</Key>", b"</Key>")
    assert bucket.keys() == sorted(key for key in PHOTOGRAPHS if "00003" not in key)


def test_the_digest_changes_with_every_key_and_content(bucket: Bucket) -> None:
    def digest() -> str:
        return digest_of_listing(list_objects(bucket.address()))

    first = digest()
    assert digest() == first
    bucket.put({ONE: PHOTOGRAPHS[ONE][::-1]})
    second = digest()
    (bucket.place / "photos" / ONE).rename(bucket.place / "photos" / "other.jpg")
    assert len({first, second, digest()}) == 3


# --- mirroring ------------------------------------------------------------------------------------


def test_a_mirror_has_the_bytes_of_every_wanted_object(bucket: Bucket) -> None:
    result = bucket.mirror(lambda key: key.startswith("Positive/"))
    wanted = {key: content for key, content in PHOTOGRAPHS.items() if key.startswith("Positive/")}
    assert bucket.held == wanted
    assert [stored.key for stored in result.objects] == sorted(wanted)
    assert (result.downloaded, result.removed, result.unverified) == (len(wanted), 0, ())


def test_objects_come_many_at_a_time(bucket: Bucket) -> None:
    together = threading.Barrier(8, timeout=10)
    bucket.proxy.spoil = before(".jpg", together.wait)
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS


def test_what_is_there_is_not_downloaded_again(mirrored: Bucket) -> None:
    result = mirrored.mirror()
    assert mirrored.proxy.downloads == []
    assert (result.downloaded, result.removed) == (0, 0)


@pytest.mark.parametrize("content", [b"new", PHOTOGRAPHS[ONE][::-1]], ids=["size", "same size"])
def test_only_what_has_changed_is_downloaded_again(mirrored: Bucket, content: bytes) -> None:
    mirrored.put({ONE: content})
    assert mirrored.mirror().downloaded == 1
    assert mirrored.proxy.downloads == [f"photos/{ONE}"]
    assert mirrored.held == PHOTOGRAPHS | {ONE: content}


@pytest.mark.parametrize("content", [b"", b"bad", PHOTOGRAPHS[ONE][::-1]])
def test_a_local_file_that_was_tampered_with_is_downloaded_again(
    mirrored: Bucket, content: bytes
) -> None:
    (mirrored.local / ONE).write_bytes(content)
    mirrored.mirror()
    assert mirrored.proxy.downloads == [f"photos/{ONE}"]
    assert mirrored.held == PHOTOGRAPHS


def test_what_has_vanished_is_removed_with_its_folder(mirrored: Bucket) -> None:
    shutil.rmtree(mirrored.place / "photos" / "Positive")
    assert mirrored.mirror().removed == 4
    assert not (mirrored.local / "Positive").exists()
    assert mirrored.held == {key: PHOTOGRAPHS[key] for key in PHOTOGRAPHS if "Negative" in key}


def test_an_object_may_take_the_place_of_a_folder_and_the_reverse(mirrored: Bucket) -> None:
    shutil.rmtree(mirrored.place / "photos")
    for files in ({"Positive": b"a file now", "Negative/1/2.jpg": b"deeper"}, PHOTOGRAPHS):
        mirrored.put(files)
        mirrored.mirror()
        assert mirrored.held == files
        shutil.rmtree(mirrored.place / "photos")


def test_a_link_in_the_mirror_leads_nothing_out_of_it(mirrored: Bucket, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (mirrored.local / "Positive").rename(outside)
    (mirrored.local / "Positive").symlink_to(outside)
    mirrored.put({ONE: b"new"})
    mirrored.mirror()
    assert (outside / Path(ONE).name).read_bytes() == PHOTOGRAPHS[ONE]
    assert mirrored.held == PHOTOGRAPHS | {ONE: b"new"}


def test_a_folder_with_files_of_somebody_else_is_refused_and_left_alone(bucket: Bucket) -> None:
    write_files(bucket.local, {"thesis.txt": b"years of work"})
    bucket.refused("holds other files. Name an empty folder")
    assert tree(bucket.local) == {"thesis.txt": b"years of work"}


def test_empty_objects_and_empty_prefixes_are_mirrored(bucket: Bucket) -> None:
    bucket.put({"empty.jpg": b""})
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS | {"empty.jpg": b""}
    shutil.rmtree(bucket.place / "photos")
    assert bucket.mirror().objects == ()
    assert bucket.held == {}


# --- interrupted ----------------------------------------------------------------------------------


def indexed(bucket: Bucket) -> list[str]:
    index = bucket.local / ".mirror" / "index.jsonl"
    return index.read_text().splitlines(keepends=True) if index.exists() else []


def test_a_killed_mirror_goes_on_where_it_was(empty: Bucket, start: StartProcess) -> None:
    files = {f"{number}.jpg": b"%d" % number for number in range(60)}
    empty.put(files)
    empty.proxy.spoil = before(".jpg", lambda: time.sleep(0.2))
    process = empty.start_mirror(start)
    process.wait_until(lambda: len(indexed(empty)) > 20, "some objects")
    os.killpg(process.pid, 9)
    process.wait(5)
    whole = [line for line in indexed(empty) if line.endswith("\n")]
    assert 20 < len(whole) < 60, "not tested: it was not killed in its midst"
    empty.proxy.spoil = None
    assert empty.mirror().downloaded == 60 - len(whole)
    assert not {f"photos/{json.loads(line)[0]}" for line in whole} & {*empty.proxy.downloads}
    assert empty.held == files
    assert list((empty.local / ".mirror" / "partial").iterdir()) == []


@pytest.mark.parametrize("kept", [None, 0, 0.3, 0.97])
def test_an_index_that_is_gone_or_cut_anywhere_costs_only_what_it_lost(
    mirrored: Bucket, kept: float | None
) -> None:
    index = mirrored.local / ".mirror" / "index.jsonl"
    if kept is None:
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[: int(index.stat().st_size * kept)])
    whole = [line for line in indexed(mirrored) if line.endswith("\n")]
    assert mirrored.mirror().downloaded == len(PHOTOGRAPHS) - len(whole)
    assert mirrored.mirror().downloaded == 0
    assert mirrored.held == PHOTOGRAPHS


def test_ctrl_c_ends_it_at_once_though_the_server_is_silent(
    bucket: Bucket, start: StartProcess
) -> None:
    silent = threading.Event()
    bucket.proxy.spoil = before(".jpg", lambda: silent.wait(30))
    process = bucket.start_mirror(start)
    process.wait_until(lambda: bucket.proxy.downloads, "a download")
    process.interrupt()
    process.wait(3)
    silent.set()
    assert "KeyboardInterrupt" in process.stderr
    assert bucket.held == {}


def cutting(*sent: int) -> Callable[[str, Response], Response]:
    """Let the first bodies break off, each after so many bytes."""
    left = list(sent)

    def cut(request: str, answer: Response) -> Response:
        if "large.bin" in request and left:
            answer.sent = left.pop(0)
        return answer

    return cut


def ranges(bucket: Bucket) -> list[str]:
    return [download.partition(" ")[2] for download in bucket.proxy.downloads]


def test_a_body_that_breaks_off_is_continued(empty: Bucket) -> None:
    empty.put({"large.bin": LARGE})
    empty.proxy.spoil = cutting(1 << 20, 1 << 20)
    empty.mirror()
    assert ranges(empty) == ["", "bytes=1048576-", "bytes=2097152-"]
    assert empty.held == {"large.bin": LARGE}


@pytest.mark.parametrize(
    ("later", "asked"),
    [(LARGE, "bytes=1048576-"), (LARGE[::-1], "")],
    ids=["the same is continued", "another is begun"],
)
def test_a_body_that_always_breaks_off_heals_with_time_and_is_continued_later(
    empty: Bucket, later: bytes, asked: str
) -> None:
    empty.put({"large.bin": LARGE})
    empty.proxy.spoil = cutting(1 << 20, 0, 0, 0)
    empty.refused("'large.bin' breaks off again and again", StorageUnavailable)
    assert empty.held == {}
    empty.put({"large.bin": later})
    empty.proxy.spoil = None
    empty.mirror()
    assert ranges(empty) == [asked]
    assert empty.held == {"large.bin": later}


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(empty: Bucket) -> None:
    empty.put({"large.bin": LARGE})
    cut = cutting(1 << 20)

    def whole(request: str, answer: Response) -> Response:
        if " bytes=" in request:
            answer.headers.pop("Content-Range")
            answer.status, answer.body = 200, LARGE
        return cut(request, answer)

    empty.proxy.spoil = whole
    empty.mirror()
    assert empty.held == {"large.bin": LARGE}


@pytest.mark.parametrize("change", ["removed", "overwritten"])
def test_an_object_that_changes_after_the_listing_heals_with_time(
    bucket: Bucket, change: str
) -> None:
    def change_it() -> None:
        file = bucket.place / "photos" / ONE
        file.unlink()
        if change == "overwritten":
            file.write_bytes(PHOTOGRAPHS[ONE][::-1])

    bucket.proxy.spoil = before("list-type", change_it)
    bucket.refused(f"'{ONE}' was changed or removed while it was fetched", StorageUnavailable)
    assert ONE not in bucket.held


# --- checksums ------------------------------------------------------------------------------------


def spoiling(times: int, spoil: Callable[[Response], None]) -> Callable[[str, Response], Response]:
    """Spoil the first answers that hold `ONE`."""
    left = [None] * times

    def spoiled(request: str, answer: Response) -> Response:
        if request.startswith("GET") and ONE in request and left:
            left.pop()
            spoil(answer)
        return answer

    return spoiled


def flip(answer: Response) -> None:
    answer.body = answer.body[:100] + bytes([answer.body[100] ^ 1]) + answer.body[101:]


def shorten(answer: Response) -> None:
    answer.body = answer.body[:100]


@pytest.mark.parametrize("spoil", [flip, shorten])
def test_what_comes_damaged_is_fetched_once_more_and_then_refused_by_its_name(
    bucket: Bucket, spoil: Callable[[Response], None]
) -> None:
    bucket.proxy.spoil = spoiling(3, spoil)
    bucket.refused(f"'{ONE}' does not have its checksum")
    # After a failure no thread works on.
    assert [thread.name for thread in threading.enumerate() if "(worker)" in thread.name] == []
    assert ONE not in bucket.held
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS
    assert bucket.proxy.downloads.count(f"photos/{ONE}") == 2


def rewriting(old: bytes, new: bytes, **headers: str) -> Callable[[str, Response], Response]:
    """Say `new` for `old` in every listing and header; add headers to every object."""

    def replaced(request: str, answer: Response) -> Response:
        if "list-type" in request:
            answer.body = answer.body.replace(old, new)
        for name, value in answer.headers.items():
            answer.headers[name] = value.replace(old.decode(), new.decode())
        answer.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        return answer

    return replaced


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def with_etag(bucket: Bucket, etag: str, **headers: str) -> None:
    """Store one more object, of which the server says this ETag."""
    bucket.put({"large.bin": LARGE})
    bucket.proxy.spoil = rewriting(md5(LARGE).encode(), etag.encode(), **headers)


def test_an_upload_in_parts_is_verified_whatever_the_usual_size_of_parts(
    empty: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "MEBIBYTE", 1 << 16)
    (tmp_path / "large").write_bytes(LARGE)
    for size in (8, 15, 16):
        with_etag(empty, etag_in_parts(tmp_path / "large", size << 16))
        assert empty.mirror().unverified == ()
        assert not any(request.startswith("HEAD") for request in empty.proxy.asked)


def test_the_etag_of_an_upload_in_parts_is_that_of_s3(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"aaaabb")
    parts = hashlib.md5(b"aaaa", usedforsecurity=False).digest()
    parts += hashlib.md5(b"bb", usedforsecurity=False).digest()
    assert etag_in_parts(tmp_path / "file", 4) == f"{md5(parts)}-2"


@pytest.mark.parametrize(
    ("mebibytes", "count", "sizes"),
    [
        (20, 3, [8, 7]),
        (20, 4, [5]),
        (16, 2, [8, 15, 10]),
        (3, 1, [8, 5, 16]),
        (70_000, 10_000, [7]),
    ],
)
def test_only_sizes_that_give_the_number_of_parts_are_tried(
    mebibytes: int, count: int, sizes: list[int]
) -> None:
    found = possible_part_sizes(mebibytes << 20, count)
    assert [size >> 20 for size in found][: len(sizes)] == sizes


def test_a_sha256_decides_where_the_etag_cannot(empty: Bucket) -> None:
    with_etag(empty, f"{'0' * 32}-3", x_amz_checksum_sha256=sha256(LARGE))
    assert empty.mirror().unverified == ()
    shutil.rmtree(empty.local)
    with_etag(empty, f"{'0' * 32}-3", x_amz_checksum_sha256=sha256(b"other"))
    empty.refused("'large.bin' does not have its checksum")


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        pytest.param(f"{'0' * 32}-3", {}, id="unknown parts"),
        pytest.param(f"{'0' * 32}-3", {"x_amz_checksum_sha256": "abc=-3"}, id="sha256 of parts"),
        pytest.param("0" * 32, {"x_amz_server_side_encryption": "aws:kms"}, id="encrypted"),
        pytest.param("opaque", {}, id="no md5"),
    ],
)
def test_where_only_the_size_can_be_compared_it_is_said(
    empty: Bucket, caplog: pytest.LogCaptureFixture, etag: str, headers: dict[str, str]
) -> None:
    with_etag(empty, etag, **headers)
    with caplog.at_level(logging.WARNING, "cracks"):
        assert empty.mirror().unverified == ("large.bin",)
    assert "'large.bin'; of these, only the size is known to be right" in caplog.text
    assert empty.held == {"large.bin": LARGE}


def test_encryption_with_the_buckets_own_keys_keeps_the_checksum(empty: Bucket) -> None:
    with_etag(empty, "0" * 32, x_amz_server_side_encryption="AES256")
    empty.refused("'large.bin' does not have its checksum")


# --- unsafe keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "../evil.jpg",
        "a/../../evil.jpg",
        "/evil.jpg",
        "a//evil.jpg",
        "./evil.jpg",
        "..",
        "a%5Cevil.jpg",
        "..%5Cevil.jpg",
        "a%00.jpg",
        ".mirror/index.jsonl",
        "x" * 256,
        "%C3%BC" * 128,
        f"{ONE}/evil.jpg",
        "Negative",
    ],
)
def test_a_key_that_cannot_be_a_local_name_is_refused_and_nothing_is_written(
    bucket: Bucket, tmp_path: Path, key: str
) -> None:
    bucket.put({"harmless.jpg": b"evil"})
    bucket.proxy.spoil = rewriting(b"photos/harmless.jpg", f"photos/{key}".encode())
    old = tree(tmp_path)
    bucket.refused("nothing was downloaded")
    assert bucket.proxy.downloads == []
    assert tree(tmp_path) == old


def test_the_longest_name_is_mirrored(empty: Bucket) -> None:
    empty.put({"x" * 255: b"long"})
    empty.mirror()
    assert empty.held == {"x" * 255: b"long"}


def test_an_unsafe_key_that_nobody_wants_does_no_harm(bucket: Bucket) -> None:
    bucket.put({"harmless.txt": b"evil"})
    bucket.proxy.spoil = rewriting(b"photos/harmless.txt", b"photos/../evil.txt")
    bucket.mirror(lambda key: key.endswith(".jpg"))
    assert bucket.held == PHOTOGRAPHS


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, "InvalidAccessKeyId"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "Partial credentials"),
    ],
)
def test_credentials_that_do_not_open_it_are_refused_with_the_remedy(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], reason: str
) -> None:
    set_ = {name: value for name, value in (bucket.variables | change).items() if value}
    use_s3(set_, monkeypatch)
    said = bucket.refused(rf"access is denied \({reason}.*Set AWS_ACCESS_KEY_ID and")
    assert ACCESS_KEY not in said
    assert not bucket.local.exists()


@pytest.mark.usefixtures("impatient")
def test_an_endpoint_that_is_down_heals_with_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    bucket.refused("cannot be reached .* Check AWS_ENDPOINT_URL", StorageUnavailable)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_does_not_answer_heals_with_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.3)
    over = threading.Event()
    bucket.proxy.spoil = before("", lambda: over.wait(10))
    bucket.refused("cannot be reached .*[Tt]imeout", StorageUnavailable)
    over.set()


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    bucket.refused("Write AWS_ENDPOINT_URL as http://HOST:PORT")


def test_a_storage_that_is_busy_for_a_moment_is_asked_again(bucket: Bucket) -> None:
    seen = set[str]()

    def busy_once(request: str, answer: Response) -> Response:
        first = ONE in request and request not in seen
        seen.add(request)
        return slow_down() if first else answer

    bucket.proxy.spoil = busy_once
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", ["list-type", ONE])
def test_a_storage_that_stays_busy_heals_with_time(bucket: Bucket, what: str) -> None:
    bucket.proxy.spoil = lambda request, answer: slow_down() if what in request else answer
    bucket.refused(r"refuses for now \(SlowDown: Reduce it\)", StorageUnavailable)
    bucket.proxy.spoil = None
    bucket.mirror()
    assert bucket.held == PHOTOGRAPHS


def test_a_full_disk_is_told_of_in_one_line(bucket: Bucket) -> None:
    bucket.mirror(lambda _: False)
    for stored in list_objects(bucket.address()):
        partial(bucket.local, stored).symlink_to("/dev/full")
    bucket.refused("cannot be written .*No space left on device.* Make room")


# --- buckets --------------------------------------------------------------------------------------


def test_a_missing_bucket_is_made_once(bucket: Bucket) -> None:
    name = f"{bucket.place.name}-new"
    assert ensure_bucket(name)
    assert (bucket.place.parent / name).is_dir()
    assert not ensure_bucket(name)
    assert not ensure_bucket(bucket.place.name, endpoint_url=bucket.proxy.url)


def test_a_bucket_that_others_own_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match="access is denied"):
        ensure_bucket(bucket.place.name)
