"""Downloads: what has come is not fetched twice, and nothing wrong takes the place of the file."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
import webserver
from processes import RunningProcess, StartProcess, free_port
from webserver import Fault, FileServer

from cracks.errors import StorageError, StorageUnavailable
from cracks.storage import http_client as module
from cracks.storage.http_client import read_json
from cracks.storage.http_download import download
from cracks.system.hashing import digest_of_bytes
from tests.unit.builders import tree

SIZE = 3_000_000
CONTENT = np.random.default_rng(0).bytes(SIZE)
OTHER = np.random.default_rng(1).bytes(SIZE)

PARTIAL = ".photos.rar.partial"

SCRIPT = """
import sys
from pathlib import Path
from cracks.storage.http_download import download
url, target, size, sha256 = sys.argv[1:]
download(url, Path(target), size=int(size), sha256=sha256, description="fetching")
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(photos=CONTENT) as one:
        yield one


@pytest.fixture(autouse=True)
def _quick_and_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "RETRIES", 3)
    # A proxy of this machine must not decide a test.
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds of every pause, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def _download(server: FileServer, folder: Path, *, content: bytes = CONTENT) -> None:
    """Fetch what should be `content`."""
    download(
        server.url("photos"),
        folder / "photos.rar",
        size=len(content),
        sha256=digest_of_bytes(content),
        description="fetching photos.rar",
    )


def _fetched(server: FileServer, folder: Path) -> list[str | None]:
    """Fetch the file, require that it is whole and alone; return the ranges asked for."""
    _download(server, folder)
    assert tree(folder) == {"photos.rar": CONTENT}
    return server.ranges


def _refused(
    server: FileServer, folder: Path, reason: str, kind: type[StorageError] = StorageError
) -> None:
    with pytest.raises(StorageError, match=reason) as refusal:
        _download(server, folder)
    assert refusal.type is kind
    assert len(str(refusal.value).splitlines()) == 1
    assert not (folder / "photos.rar").exists()


def _leave(folder: Path, partial: bytes) -> None:
    """Leave what an earlier run would have."""
    (folder / PARTIAL).write_bytes(partial)


def _resumes_at(*places: int) -> list[str]:
    return [f"bytes={place}-" for place in places]


def test_a_file_is_fetched_uncompressed_from_the_host_that_the_server_names(
    server: FileServer, tmp_path: Path
) -> None:
    _download(server, tmp_path / "not" / "yet" / "there")
    assert tree(tmp_path / "not" / "yet" / "there") == {"photos.rar": CONTENT}
    (request,) = server.store.requests
    assert (request.range, request.encoding) == (None, "identity")
    assert server.store.url != server.portal.url


def test_a_file_that_is_there_is_not_asked_for(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "photos.rar").write_bytes(CONTENT)
    _download(server, tmp_path)
    assert server.portal.requests == []
    assert tree(tmp_path) == {"photos.rar": CONTENT}


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], CONTENT[:-1] + b"?", CONTENT + b"?"])
def test_a_damaged_file_is_replaced(server: FileServer, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "photos.rar").write_bytes(damaged)
    _fetched(server, tmp_path)


def test_a_person_reads_how_many_megabytes_have_come(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.store.will(webserver.cut(0.3))
    _download(server, tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("  fetching photos.rar: 3 of 3 (")
    assert err.endswith(" MB/s)\n")


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    with FileServer(photos=b"") as server:
        _download(server, tmp_path, content=b"")
    assert tree(tmp_path) == {"photos.rar": b""}


@pytest.mark.parametrize(
    ("fault", "come"),
    [
        pytest.param(webserver.cut(0.3), 900_000, id="closed"),
        pytest.param(webserver.reset(0.5), 1_500_000, id="reset"),
        pytest.param(webserver.stop(0.4), 1_200_000, id="silent"),
        pytest.param(webserver.end_early(0.6), 1_800_000, id="short, without a length"),
    ],
)
def test_a_transfer_that_breaks_is_resumed_where_it_broke(
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    come: int,
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.3)
    server.store.will(fault)
    assert _fetched(server, tmp_path) == [None, *_resumes_at(come)]


@pytest.mark.parametrize("fault", [webserver.hang, webserver.close_at_once])
@pytest.mark.parametrize("host", ["portal", "store"])
def test_a_server_that_hangs_or_hangs_up_before_it_answers_is_asked_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, host: str
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.3)
    getattr(server, host).will(fault)
    _fetched(server, tmp_path)
    assert len(getattr(server, host).requests) == 2


def test_a_line_that_breaks_often_but_gains_each_time_comes_through(
    server: FileServer, tmp_path: Path
) -> None:
    breaks = 4 * module.RETRIES
    server.store.will(*[webserver.cut(0.1)] * breaks)
    assert len(_fetched(server, tmp_path)) == breaks + 1


def test_a_line_that_gains_nothing_more_is_given_up_with_growing_pauses(
    server: FileServer, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(module, "RETRIES", 9)
    server.store.will(webserver.cut(0.2), *[webserver.cut(0)] * 9)
    _refused(
        server,
        tmp_path,
        r"breaks off again and again .*600,000 of 3,000,000 bytes are kept; try again later",
        StorageUnavailable,
    )
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    assert tree(tmp_path) == {PARTIAL: CONTENT[:600_000]}


def test_a_server_that_starts_again_each_time_and_breaks_off_is_given_up(
    server: FileServer, tmp_path: Path
) -> None:
    server.store.will(*[webserver.ignore_range(webserver.cut(0.3))] * 50)
    _refused(server, tmp_path, "breaks off again and again", StorageUnavailable)
    assert len(server.ranges) == module.RETRIES + 1


@pytest.mark.parametrize(
    ("partial", "ranges"),
    [
        pytest.param(CONTENT[:1_234_567], ["bytes=1234567-"], id="a part: the rest"),
        pytest.param(CONTENT, [], id="all, not yet moved: nothing"),
        pytest.param(CONTENT + b"?", [None], id="too long: all"),
        pytest.param(OTHER[:1_000_000], ["bytes=1000000-", None], id="part of another file"),
        pytest.param(OTHER, [None], id="all of another file"),
    ],
)
def test_of_what_an_earlier_run_left_only_what_is_right_is_not_fetched_again(
    server: FileServer, tmp_path: Path, partial: bytes, ranges: list[str | None]
) -> None:
    _leave(tmp_path, partial)
    assert _fetched(server, tmp_path) == ranges
    assert len(server.portal.requests) == len(ranges)


def _downloading(
    start: StartProcess, server: FileServer, folder: Path, come: int
) -> RunningProcess:
    """Return a process that downloads, as soon as that many bytes have come."""
    target = str(folder / "photos.rar")
    arguments = [server.url("photos"), target, str(SIZE), digest_of_bytes(CONTENT)]
    process = start([sys.executable, "-c", SCRIPT, *arguments], variables={"no_proxy": "127.0.0.1"})
    partial = folder / PARTIAL
    process.wait_until(
        lambda: partial.exists() and partial.stat().st_size == come, "the first part"
    )
    return process


@pytest.mark.parametrize("come", [3_000, 1_500_000])
def test_a_killed_download_is_resumed_where_it_was(
    server: FileServer, tmp_path: Path, start: StartProcess, come: int
) -> None:
    server.store.will(webserver.stop(come / SIZE))
    process = _downloading(start, server, tmp_path, come)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert _fetched(server, tmp_path) == [None, *_resumes_at(come)]


def test_ctrl_c_leaves_a_part_that_can_be_resumed(
    server: FileServer, tmp_path: Path, start: StartProcess
) -> None:
    server.store.will(webserver.stop(0.7))
    process = _downloading(start, server, tmp_path, 2_100_000)
    process.interrupt()
    assert process.wait(10) != 0
    assert "KeyboardInterrupt" in process.stderr
    assert tree(tmp_path) == {PARTIAL: CONTENT[:2_100_000]}
    assert _fetched(server, tmp_path) == [None, *_resumes_at(2_100_000)]


def test_a_server_that_ignores_ranges_is_taken_from_the_start(
    server: FileServer, tmp_path: Path
) -> None:
    _leave(tmp_path, OTHER[:1_000_000])
    server.store.will(webserver.ignore_range())
    assert _fetched(server, tmp_path) == _resumes_at(1_000_000)


_UNFIT = [
    {"Content_Range": f"bytes 0-{SIZE - 1}/{SIZE}"},
    {"Content_Range": f"bytes 1000001-{SIZE - 1}/{SIZE}"},
    {"Content_Range": "bytes 1000000-1999999/2000000"},
    {"Content_Range": "nonsense"},
    {},
]


@pytest.mark.parametrize(
    "answer",
    [webserver.refuse(416), *[webserver.send(CONTENT[1_000_000:], 206, **said) for said in _UNFIT]],
)
def test_an_answer_that_does_not_fit_what_is_there_starts_again(
    server: FileServer, tmp_path: Path, answer: Fault
) -> None:
    _leave(tmp_path, CONTENT[:1_000_000])
    server.store.will(answer)
    assert _fetched(server, tmp_path) == [*_resumes_at(1_000_000), None]


def test_a_file_that_changed_between_two_parts_is_fetched_from_the_start(
    server: FileServer, tmp_path: Path
) -> None:
    def half_of_another(handler: webserver.Handler) -> None:
        server.files["photos"] = OTHER
        webserver.cut(0.5)(handler)
        server.files["photos"] = CONTENT

    server.store.will(half_of_another)
    assert _fetched(server, tmp_path) == [None, *_resumes_at(1_500_000), None]


@pytest.mark.parametrize(
    ("partial", "ranges"),
    [(b"", [None]), (CONTENT[:1_000_000], ["bytes=1000000-", None])],
    ids=["at once", "after a leftover, fetched twice and not for ever"],
)
def test_wrong_bytes_are_refused_and_not_kept(
    server: FileServer, tmp_path: Path, partial: bytes, ranges: list[str | None]
) -> None:
    server.files["photos"] = OTHER
    _leave(tmp_path, partial)
    reason = f"SHA-256 {digest_of_bytes(OTHER)} instead of {digest_of_bytes(CONTENT)}"
    _refused(server, tmp_path, reason)
    assert tree(tmp_path) == {}
    assert server.ranges == ranges


def test_a_file_of_another_length_is_refused_before_it_is_fetched(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["photos"] = CONTENT + CONTENT
    _leave(tmp_path, CONTENT[:10])
    _refused(server, tmp_path, "has 6,000,000 bytes instead of 3,000,000")
    assert tree(tmp_path) == {}


def test_an_answer_without_end_is_cut_off_at_the_length_of_the_file(
    server: FileServer, tmp_path: Path
) -> None:
    server.store.will(webserver.never_end)
    _refused(server, tmp_path, "sent a file with the SHA-256")
    assert tree(tmp_path) == {}
    in_the_buffers_between = 12_000_000
    assert SIZE <= server.sent < SIZE + in_the_buffers_between


def test_a_page_instead_of_the_file_is_refused_and_costs_nothing_of_what_is_there(
    server: FileServer, tmp_path: Path
) -> None:
    _leave(tmp_path, CONTENT[:1_000_000])
    server.store.will(webserver.page)
    _refused(server, tmp_path, "a page instead of a file")
    assert tree(tmp_path) == {PARTIAL: CONTENT[:1_000_000]}


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410])
def test_a_refusal_that_stays_is_not_asked_for_again(
    server: FileServer, tmp_path: Path, status: int
) -> None:
    server.store.will(webserver.refuse(status))
    _refused(server, tmp_path, rf"answers {status} .*Open it in a browser")
    assert len(server.ranges) == 1
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("host", ["portal", "store"])
def test_a_refusal_that_may_pass_is_asked_again(
    server: FileServer, tmp_path: Path, status: int, host: str
) -> None:
    getattr(server, host).will(*[webserver.refuse(status)] * module.RETRIES)
    _fetched(server, tmp_path)
    assert len(getattr(server, host).requests) == module.RETRIES + 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("written_as", ["seconds", "date"])
def test_a_server_is_left_alone_as_long_as_it_asks_for(
    server: FileServer, tmp_path: Path, pauses: list[float], status: int, written_as: str
) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    server.store.will(webserver.refuse(status, "30" if written_as == "seconds" else date))
    _fetched(server, tmp_path)
    assert len(pauses) == 1
    assert 25 < pauses[0] <= 30


def test_no_server_makes_us_wait_for_hours(
    server: FileServer, tmp_path: Path, pauses: list[float]
) -> None:
    date = formatdate(time.time() + 90_000, usegmt=True)
    server.store.will(webserver.refuse(503, "86400"), webserver.refuse(429, date))
    _download(server, tmp_path)
    assert pauses == [module.LONGEST_PAUSE] * 2


def test_a_server_that_refuses_to_the_end_can_be_asked_later(
    server: FileServer, tmp_path: Path
) -> None:
    _leave(tmp_path, CONTENT[:1_000_000])
    server.store.will(*[webserver.refuse(503)] * 50)
    _refused(server, tmp_path, "still answers 503 .* after 4 tries", StorageUnavailable)
    assert len(server.ranges) == module.RETRIES + 1
    assert tree(tmp_path) == {PARTIAL: CONTENT[:1_000_000]}


@pytest.mark.parametrize("when", ["soon", "-1", "Mon, 99 Nov 2026"])
def test_a_time_to_come_again_that_makes_no_sense_ends_in_a_refusal_to_ask_later(
    server: FileServer, tmp_path: Path, when: str
) -> None:
    server.store.will(*[webserver.refuse(503, when)] * 50)
    _refused(server, tmp_path, "photos", StorageUnavailable)


def _fetch_from(address: str, folder: Path) -> StorageError:
    with pytest.raises(StorageError) as refusal:
        download(address, folder / "photos.rar", size=1, sha256="0" * 64, description="fetching")
    assert len(str(refusal.value).splitlines()) == 1
    return refusal.value


def test_a_server_that_is_not_there_can_be_asked_later(tmp_path: Path) -> None:
    refusal = _fetch_from(f"http://127.0.0.1:{free_port()}/photos.rar", tmp_path)
    assert type(refusal) is StorageUnavailable
    assert "Connection refused" in str(refusal)


@pytest.mark.parametrize("address", ["photos.rar", "file:///photos.rar", "http://", "http://[::1"])
def test_an_address_that_cannot_be_used_is_refused(tmp_path: Path, address: str) -> None:
    refusal = _fetch_from(address, tmp_path)
    assert type(refusal) is StorageError
    assert "Correct the address" in str(refusal)


def test_a_server_that_sends_us_in_circles_is_refused(server: FileServer, tmp_path: Path) -> None:
    here = server.url("photos")
    server.portal.will(*[webserver.send(b"", 302, Location=here)] * 50)
    _refused(server, tmp_path, "Exceeded 30 redirects")


def test_a_file_that_does_not_fit_is_refused_before_anything_is_asked(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(tmp_path, CONTENT[:1_000_000])
    usage = shutil.disk_usage(tmp_path)._replace(free=1_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    _refused(server, tmp_path, "2 MB are still to come, but 1 MB are free there. Make room")
    assert server.portal.requests == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))
    _download(server, tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    with pytest.raises(StorageError, match=r"photos\.rar cannot be written: File exists"):
        _download(server, tmp_path / "file")


def test_json_is_read(server: FileServer) -> None:
    server.portal.will(webserver.send(b'{"a": ["\xc3\x96"]}', Content_Type="application/json"))
    assert read_json(server.url("photos")) == {"a": ["Ö"]}


def _not_read(server: FileServer, reason: str) -> StorageError:
    with pytest.raises(StorageError, match=reason) as refusal:
        read_json(server.url("photos"))
    assert len(str(refusal.value).splitlines()) == 1
    return refusal.value


def test_a_page_instead_of_json_is_refused(server: FileServer) -> None:
    server.portal.will(webserver.page)
    assert type(_not_read(server, "answers with text/html.* instead of JSON")) is StorageError


def test_json_that_breaks_off_can_be_asked_for_later(server: FileServer) -> None:
    server.portal.will(webserver.send(b"[1,", Content_Length="9", Connection="close"))
    assert type(_not_read(server, "broke off")) is StorageUnavailable


def test_json_without_end_is_refused(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_JSON", 100_000)
    server.portal.will(webserver.never_end)
    _not_read(server, "instead of JSON")
