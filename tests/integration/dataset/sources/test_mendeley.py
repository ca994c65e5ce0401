"""The reference data set: fetched once, known by its digest, stored under its own name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webserver
from processes import environment
from webserver import FileServer

from cracks.dataset.ingest.sources import mendeley
from cracks.dataset.ingest.sources.mendeley import fetch_dataset
from cracks.errors import SourceError, SourceUnavailable
from cracks.storage import http_client as web
from tests.unit.builders import tree

NAME = "Concrete Crack Images for Classification.rar"
CONTENT = np.random.default_rng(0).bytes(300_000)
BY_HAND = "https://data.mendeley.com/datasets/5y9wdsg2zt/2 and set ingest.source to the file"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer(photos=CONTENT) as one:
        one.names["photos"] = NAME
        monkeypatch.setenv("CRACKS_MENDELEY_URL", one.base)
        yield one


@pytest.fixture(autouse=True)
def _quick_and_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(web, "RETRIES", 2)
    # A proxy of this machine must not decide a test.
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _asked(server: FileServer) -> int:
    return len(server.portal.requests) + len(server.store.requests)


def _refused(folder: Path, reason: str, kind: type[SourceError] = SourceError) -> None:
    """Assert that no data set can be had, and that the refusal names the way round it."""
    with pytest.raises(SourceError, match=reason) as refusal:
        fetch_dataset(folder)
    assert refusal.type is kind
    assert str(refusal.value).endswith(f"Or download it by hand from {BY_HAND}.")
    assert len(str(refusal.value).splitlines()) == 1
    assert not (folder / "dataset.json").exists()


def test_the_data_set_is_fetched_and_dataset_json_says_what_it_is_and_nothing_of_today(
    server: FileServer, tmp_path: Path
) -> None:
    folder = tmp_path / "downloads"
    fetched = fetch_dataset(folder)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    facts = {
        "doi": "10.17632/5y9wdsg2zt.2",
        "version": 2,
        "licence": "CC BY 4.0",
        "citation": fetched.citation,
        "paper": fetched.paper,
        "files": [{"filename": NAME, "size": len(CONTENT), "sha256": sha256, "id": "photos"}],
    }
    assert fetched.model_dump(mode="json") == facts
    assert "Concrete Crack Images for Classification" in fetched.citation
    assert "Pretrained Convolutional Neural Networks" in fetched.paper
    assert (folder / fetched.archive).read_bytes() == CONTENT
    assert server.portal.requests[0].path == (
        "/public-api/datasets/5y9wdsg2zt/files?folder_id=root&version=2"
    )
    text = (folder / "dataset.json").read_text(encoding="utf-8")
    assert json.loads(text) == facts
    assert "Özgenel" in text


def test_two_downloads_leave_the_same_bytes_whatever_the_order_of_the_listing(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["readme"] = b"read me"
    server.names["readme"] = "readme.txt"
    fetch_dataset(tmp_path / "once")
    server.listing = server.listed()[::-1]
    for file in server.listing:  # a digest written in capitals is the same digest
        details = file["content_details"]
        details["sha256_hash"] = details["sha256_hash"].upper()
    fetch_dataset(tmp_path / "again")
    assert tree(tmp_path / "once") == tree(tmp_path / "again")
    assert sorted(tree(tmp_path / "once")) == [NAME, "dataset.json", "readme.txt"]


def test_a_data_set_that_is_there_needs_no_network(server: FileServer, tmp_path: Path) -> None:
    fetched = fetch_dataset(tmp_path)
    asked = _asked(server)
    server.portal.close()
    assert fetch_dataset(tmp_path) == fetched
    assert _asked(server) == asked


@pytest.mark.parametrize("damaged", [None, CONTENT[:-1] + b"?"])
def test_a_damaged_archive_is_fetched_again(
    server: FileServer, tmp_path: Path, damaged: bytes | None
) -> None:
    fetched = fetch_dataset(tmp_path)
    whole = tree(tmp_path)
    (tmp_path / NAME).unlink()
    if damaged is not None:
        (tmp_path / NAME).write_bytes(damaged)
    assert fetch_dataset(tmp_path) == fetched
    assert tree(tmp_path) == whole


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"doi"', '"DOI"'),
        ("5y9wdsg2zt.2", "5y9wdsg2zt.1"),
        (NAME, "/etc/passwd.rar"),
        ("\n}", ""),
        ('"version": 2', '"version": "two"'),
    ],
)
def test_a_damaged_dataset_json_is_written_again_without_fetching_the_archive_again(
    server: FileServer, tmp_path: Path, old: str, new: str
) -> None:
    fetched = fetch_dataset(tmp_path)
    whole = tree(tmp_path)
    record = tmp_path / "dataset.json"
    text = record.read_text(encoding="utf-8")
    assert old in text
    record.write_text(text.replace(old, new), encoding="utf-8")
    assert fetch_dataset(tmp_path) == fetched
    assert tree(tmp_path) == whole
    assert len(server.store.requests) == 1


def test_a_download_that_broke_off_goes_on_in_the_next_run(
    server: FileServer, tmp_path: Path
) -> None:
    server.store.will(webserver.cut(0.3), *[webserver.refuse(503)] * 9)
    _refused(tmp_path, "still answers 503", SourceUnavailable)
    server.store.forget()
    assert (tmp_path / fetch_dataset(tmp_path).archive).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=90000-"
    assert sorted(tree(tmp_path)) == [NAME, "dataset.json"]


@pytest.mark.parametrize(
    ("named", "stored"),
    [
        ("../../photos.rar", "photos.rar"),
        ("/etc/photos.rar", "photos.rar"),
        ("C:\\Windows\\photos.rar", "photos.rar"),
        ("..photos.rar", "photos.rar"),
        (".photos.rar", "photos.rar"),
        (". .photos.rar", "photos.rar"),
        ("photos\n\x00.rar", "photos__.rar"),
        ("Überblick (2).RAR", "Überblick (2).RAR"),
    ],
)
def test_a_file_name_leads_nowhere_but_into_the_folder(
    server: FileServer, tmp_path: Path, named: str, stored: str
) -> None:
    server.names["photos"] = named
    folder = tmp_path / "data" / "downloads"
    assert fetch_dataset(folder).archive == stored
    assert sorted(tree(tmp_path)) == sorted(
        ["data", "data/downloads", f"data/downloads/{stored}", "data/downloads/dataset.json"]
    )


@pytest.mark.parametrize("named", ["", ".", "..", "photos/", "a/.."])
def test_a_file_without_a_name_is_refused(server: FileServer, tmp_path: Path, named: str) -> None:
    server.names["photos"] = named
    _refused(tmp_path, "in an unknown way")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("other", [f"copy/{NAME}", NAME.upper(), "Dataset.JSON"])
def test_files_that_would_overwrite_each_other_are_refused(
    server: FileServer, tmp_path: Path, other: str
) -> None:
    server.files["other"], server.names["other"] = b"other", other
    _refused(tmp_path, "two files have the same name")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("names", [["readme.txt"], ["a.rar", "b.zip"], ["a.tar.gz", "a.rar"]])
def test_a_data_set_without_one_archive_and_no_other_is_refused(
    server: FileServer, tmp_path: Path, names: list[str]
) -> None:
    server.files = dict.fromkeys(names, b"content")
    server.names = {name: name for name in names}
    _refused(tmp_path, "exactly one of the files must be an archive")
    assert server.store.requests == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "A.RAR"])
def test_an_archive_is_known_by_its_name(server: FileServer, tmp_path: Path, name: str) -> None:
    server.names["photos"] = name
    server.files["notes"], server.names["notes"] = b"notes", "archive.txt"
    assert fetch_dataset(tmp_path).archive == name


def _without(key: str) -> Any:
    def remove(file: dict[str, Any]) -> None:
        (file if key in file else file["content_details"]).pop(key)

    return remove


def _with(**changes: Any) -> Any:
    def change(file: dict[str, Any]) -> None:
        for key, value in changes.items():
            (file if key in file else file["content_details"])[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *[(_without(key), rf"0\.{key}: Field required") for key in ("id", "filename", "size")],
        (_without("content_details"), r"0\.content_details\.sha256_hash: Field required"),
        (_without("sha256_hash"), r"0\.content_details\.sha256_hash: Field required"),
        (_without("download_url"), r"0\.content_details\.download_url: Field required"),
        (_with(size=0), "size"),
        (_with(size="many"), "size"),
        (_with(filename=None), "filename"),
        (_with(sha256_hash="abc"), "sha256_hash"),
        (_with(download_url="file:///etc/passwd"), "download_url"),
    ],
)
def test_a_listing_of_another_shape_is_refused_with_the_key(
    server: FileServer, tmp_path: Path, change: Any, reason: str
) -> None:
    server.listing = server.listed()
    change(server.listing[0])
    _refused(tmp_path, f"in an unknown way .*{reason}")
    assert server.store.requests == []


@pytest.mark.parametrize("answer", [[], {}, None, {"message": "no"}, [1], "text"])
def test_a_listing_without_files_is_refused(
    server: FileServer, tmp_path: Path, answer: Any
) -> None:
    server.listing = json.dumps(answer).encode()
    _refused(tmp_path, "in an unknown way")


def test_a_data_set_that_the_server_does_not_give_is_refused(
    server: FileServer, tmp_path: Path
) -> None:
    server.portal.will(webserver.refuse(404))
    _refused(tmp_path, "answers 404")


def test_without_a_mirror_the_publisher_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRACKS_MENDELEY_URL", "")
    urls: list[str] = []
    monkeypatch.setattr(mendeley, "read_json", urls.append)
    _refused(tmp_path, "in an unknown way")
    assert urls == [
        "https://data.mendeley.com/public-api/datasets/5y9wdsg2zt/files?folder_id=root&version=2"
    ]


def test_whoever_takes_photographs_from_elsewhere_does_not_load_requests() -> None:
    script = (
        "import sys, cracks.dataset.ingest.sources.mendeley; sys.exit('requests' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)
