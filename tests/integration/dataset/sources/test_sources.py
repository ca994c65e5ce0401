"""Sources: the same photographs whatever holds them, and nothing written where it must not be."""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
from damaged import flip
from rar import Member, write_rar
from webserver import FileServer

from cracks.dataset.ingest.sources.base import SourceFile
from cracks.dataset.ingest.sources.source_list import open_sources
from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.errors import SourceError
from cracks.system.hashing import digest_of_file
from cracks.workspace.paths import Paths
from tests.unit.builders import ingest_params, tree, write_files

TARS = ("photos.tar", "photos.tar.gz", "photos.tgz", "photos.tar.bz2", "photos.tar.xz")
needs_libarchive = pytest.mark.skipif(
    find_library("archive") is None, reason="libarchive13 is not installed"
)
RAR = pytest.param("photos.rar", marks=needs_libarchive)
ARCHIVES = ("photos.zip", *TARS, RAR)
CONTAINERS = ("photos", *ARCHIVES)

#: In the order in which an archive holds them.
NAMES = ("Positive/00002.jpg", "Negative/00002.jpg", "Positive/00001.jpg", "Negative/00001.jpg")


def _noise(size: int) -> dict[str, bytes]:
    """Return photographs that no archive can shrink."""
    rng = np.random.default_rng(0)
    return {name: rng.bytes(size) for name in NAMES}


PHOTOGRAPHS = _noise(3000)


def _packed(path: Path, files: Mapping[str, bytes]) -> Path:
    """Put files into a folder, a zip, a rar or a tar, as the name says."""
    if path.suffix == "":
        return write_files(path, files)
    if path.suffix == ".rar":
        return write_rar(path, [Member(name, content) for name, content in files.items()])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    kind = {".tar": "", ".tgz": "gz"}.get(path.suffix, path.suffix[1:])
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.addfile(_member(name, size=len(content)), io.BytesIO(content))
    return path


def _member(name: str, **facts: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(member, fact, value)
    return member


def _taken(source: Path | str | Sequence[Path | str], root: Path = Path()) -> list[SourceFile]:
    with open_sources(ingest_params(source), Paths(root)) as opened:
        count = opened.count()
        files = list(opened.files())
        assert len(files) == count
        return files


def _digest(source: Path | str | Sequence[Path | str], root: Path = Path(), **drawn: int) -> str:
    with open_sources(ingest_params(source, **drawn), Paths(root)) as opened:
        return opened.digest()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files, which every source must leave empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _refused(source: Path, reason: str) -> None:
    """Assert that a source is refused and that nothing is written anywhere near it."""
    before = tree(source.parent)
    with pytest.raises(SourceError, match=re.compile(reason, re.DOTALL)) as refusal:
        _taken(source)
    assert len(str(refusal.value).splitlines()) == 1
    assert tree(source.parent) == before


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_files_come_out_of_every_container(
    tmp_path: Path, temporary: Path, container: str
) -> None:
    unlabelled = {"readme.txt": b"read me", "masks/00001.png": b"mask"}
    files = _taken(_packed(tmp_path / container, PHOTOGRAPHS | unlabelled))
    label = {"Positive": CRACK, "Negative": NO_CRACK}
    assert files == [
        SourceFile(container, path, label[path.split("/")[0]], PHOTOGRAPHS[path])
        for path in sorted(PHOTOGRAPHS)
    ]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("root", ["Concrete Crack Images/v2", "."])
def test_the_labelled_folders_may_lie_deeper_and_be_written_small(
    tmp_path: Path, container: str, root: str
) -> None:
    nested = {f"{root}/{path.lower()}": content for path, content in PHOTOGRAPHS.items()}
    files = _taken(_packed(tmp_path / container, nested))
    assert [file.label for file in files] == [NO_CRACK, NO_CRACK, CRACK, CRACK]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("folder", "missing"), [("Positive", "`no crack`"), ("Negative", "`crack`"), ("other", "and")]
)
def test_a_source_without_one_of_the_labels_is_refused(
    tmp_path: Path, container: str, folder: str, missing: str
) -> None:
    source = _packed(tmp_path / container, {f"{folder}/1.jpg": b"1"})
    _refused(source, f"holds no photograph of .*{missing}.* Expected are the folders Positive/")


@pytest.mark.parametrize("name", ["nowhere", "nowhere.zip", "~nobody-here/photos"])
def test_a_missing_source_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"there is no .*ingest\.source=sample"):
        _taken(name, root=tmp_path)


@pytest.mark.parametrize("name", ["photos.7z", "photo.jpg"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not an archive")
    _refused(tmp_path / name, r"neither a folder nor a \.zip, \.rar or \.tar\.\* archive")


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize(
    "content", [b"", b"not an archive" * 500, b"Rar!", b"PK\x03\x04" + bytes(500)]
)
def test_an_archive_in_name_only_is_refused(tmp_path: Path, archive: str, content: bytes) -> None:
    (tmp_path / archive).write_bytes(content)
    _refused(tmp_path / archive, "is damaged or cut short")


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("kept", [0.05, 0.4, 0.6])
def test_an_archive_cut_short_is_refused(tmp_path: Path, archive: str, kept: float) -> None:
    source = _packed(tmp_path / archive, PHOTOGRAPHS)
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * kept)])
    _refused(source, r"is damaged or cut short .* Fetch it again")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Positive/ö.jpg".encode(), b"Positive/\xff\xff.jpg"),  # no UTF-8, though it is announced
        (b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff"),  # made by a zip of the future
    ],
    ids=["names", "version"],
)
def test_a_zip_whose_list_is_damaged_is_refused(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    source = _packed(tmp_path / "photos.zip", PHOTOGRAPHS | {"Positive/ö.jpg": b"1"})
    content = source.read_bytes()
    assert before in content
    source.write_bytes(content.replace(before, after))
    _refused(source, "is damaged or cut short")


def _refusal(source: Path) -> str:
    """Return why a source is refused; nothing, if it is read."""
    try:
        _taken(source)
    except SourceError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar", "photos.tar.gz", RAR])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_damage_an_archive_is_read_or_refused_in_one_line(
    tmp_path: Path, archive: str, seed: int
) -> None:
    small = {name.replace("0000", "ö"): b"0123" for name in NAMES}
    source, rng = _packed(tmp_path / archive, small), np.random.default_rng(seed)
    whole = source.read_bytes()
    for _ in range(50):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 2):
            damaged[place] = rng.choice([0, 0xFF, damaged[place] ^ 1])
        source.write_bytes(damaged)
        refusal = _refusal(source)
        assert len(refusal.splitlines()) <= 1, refusal


@pytest.mark.parametrize("into_the_header", [0, 100])
def test_a_tar_cut_between_two_files_is_refused(tmp_path: Path, into_the_header: int) -> None:
    source = _packed(tmp_path / "photos.tar", PHOTOGRAPHS)
    two_files = 2 * (512 + 3072)  # header, and 3000 bytes in blocks of 512
    source.write_bytes(source.read_bytes()[: two_files + into_the_header])
    _refused(source, "is damaged or cut short")


@pytest.mark.parametrize("archive", [name for name in ARCHIVES if name != "photos.tar"])
@pytest.mark.parametrize("place", [0.3, 0.9])
def test_an_archive_with_a_flipped_byte_is_refused(
    tmp_path: Path, archive: str, place: float
) -> None:
    source = _packed(tmp_path / archive, _noise(100_000))
    flip(source, place, 0xFF)
    _refused(source, "is damaged or cut short")


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar"])
@pytest.mark.parametrize(
    "member",
    [
        "../Positive/evil.jpg",
        "Positive/../../evil.jpg",
        "/evil/Positive/evil.jpg",
        "C:\\Positive\\evil.jpg",
        "C:/Positive/evil.jpg",
        "..\\Positive\\evil.jpg",
        "\\\\server\\Positive\\evil.jpg",
        "../notes.txt",
    ],
)
def test_an_archive_that_points_outside_is_refused_as_a_whole(
    tmp_path: Path, archive: str, member: str
) -> None:
    source = _packed(tmp_path / archive, PHOTOGRAPHS | {member: b"evil"})
    _refused(source, r"which points outside of it. It is refused as a whole")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_left_out(tmp_path: Path, kind: bytes) -> None:
    outside = write_files(tmp_path / "outside", {"secret": b"secret"})
    source = _packed(tmp_path / "photos.tar", PHOTOGRAPHS)
    with tarfile.open(source, "a") as archive:
        # One looks like a photograph, one would send a later photograph out of the folder.
        archive.addfile(_member("Positive/a.jpg", type=kind, linkname=str(outside / "secret")))
        archive.addfile(_member("new/Negative", type=kind, linkname=str(outside)))
        archive.addfile(_member("new/Negative/b.jpg", size=1), io.BytesIO(b"b"))
    assert [file.path for file in _taken(source)] == [*sorted(PHOTOGRAPHS), "new/Negative/b.jpg"]
    assert tree(outside) == {"secret": b"secret"}


def test_the_digest_of_a_folder_changes_with_every_name_and_content(tmp_path: Path) -> None:
    name = "Positive/00001.jpg"
    renamed = {path.replace("00001", "1"): content for path, content in PHOTOGRAPHS.items()}
    # The very same bytes in the very same order, and one of them is a crack now.
    relabelled = {
        path.replace("Negative/00002", "Positive/00000"): content
        for path, content in PHOTOGRAPHS.items()
    }
    other = PHOTOGRAPHS | {name: b"other"}
    variants = [PHOTOGRAPHS, other, renamed, relabelled, dict(PHOTOGRAPHS)]
    digests = [_digest(_packed(tmp_path / str(i), files)) for i, files in enumerate(variants)]
    assert digests[0] == digests[-1]
    assert len(set(digests)) == 4


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar.gz", RAR])
def test_the_digest_of_an_archive_is_its_sha256(tmp_path: Path, archive: str) -> None:
    path = _packed(tmp_path / archive, PHOTOGRAPHS)
    assert _digest(path) == digest_of_file(path)


@pytest.mark.parametrize("archive", ["photos.tar.gz", RAR])
def test_nothing_is_unpacked_to_learn_the_digest(
    tmp_path: Path, temporary: Path, archive: str
) -> None:
    source = _packed(tmp_path / archive, PHOTOGRAPHS)
    with open_sources(ingest_params(source), Paths(tmp_path)) as opened:
        opened.digest()
        assert [path for path in temporary.rglob("*") if path.is_file()] == []
        assert opened.count() == len(PHOTOGRAPHS)
        assert len([path for path in temporary.rglob("*") if path.is_file()]) == len(PHOTOGRAPHS)


def test_another_drawing_has_another_digest() -> None:
    variants: list[dict[str, int]] = [{}, {"patches": 6}, {"seed": 2}]
    assert len({_digest("sample", **variant) for variant in variants}) == len(variants)


def test_several_sources_are_read_in_the_order_of_the_list(tmp_path: Path) -> None:
    cracked = {"Positive/1.jpg": b"new", "Positive/2.jpg": b"newer"}
    new = _packed(tmp_path / "new.zip", cracked)
    old = _packed(tmp_path / "old", {"Negative/1.jpg": b"old"})
    # Both labels are needed only of all sources together.
    assert len(_taken([new, old])) == 3
    files = _taken([new, old, "sample"], root=tmp_path)
    assert [(file.source, file.path, file.label) for file in files] == [
        ("new.zip", "Positive/1.jpg", CRACK),
        ("new.zip", "Positive/2.jpg", CRACK),
        ("old", "Negative/1.jpg", NO_CRACK),
        ("sample", "Negative/00001.jpg", NO_CRACK),
        ("sample", "Negative/00002.jpg", NO_CRACK),
        ("sample", "Positive/00001.jpg", CRACK),
        ("sample", "Positive/00002.jpg", CRACK),
    ]


def test_a_label_that_is_missing_everywhere_is_refused_with_every_source(tmp_path: Path) -> None:
    sources = [_packed(tmp_path / name, {"Positive/1.jpg": b"1"}) for name in ("a", "b.zip")]
    with pytest.raises(SourceError, match=r"/a and .*/b\.zip holds no photograph of `no crack`"):
        _taken(sources)


def test_one_bad_source_refuses_all_and_leaves_nothing_unpacked(
    tmp_path: Path, temporary: Path
) -> None:
    good = _packed(tmp_path / "photos.tar", PHOTOGRAPHS)
    with pytest.raises(SourceError, match="there is no"):
        _taken([good, tmp_path / "nowhere"])
    assert list(temporary.iterdir()) == []


def test_the_digest_of_several_sources_changes_with_each_and_with_their_order(
    tmp_path: Path,
) -> None:
    first = _packed(tmp_path / "first", PHOTOGRAPHS)
    second = _packed(tmp_path / "second", {"Positive/9.jpg": b"9", "Negative/9.jpg": b"8"})
    lists = [[first], [second], [first, second], [second, first]]
    digests = [_digest(one) for one in lists]
    (second / "Positive/9.jpg").write_bytes(b"7")
    digests.append(_digest([first, second]))
    assert len(set(digests)) == len(digests)
    assert _digest(first) == _digest([first])


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("photos", "photos"),
        ("photos/", "photos"),
        ("./photos", "photos"),
        ("deeper/photos", "photos"),
        ("{root}/photos", "photos"),
        ("~/photos", "photos"),
        ("photos.zip", "photos.zip"),
    ],
)
def test_a_source_has_the_same_name_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in ("photos", "deeper/photos", "photos.zip"):
        _packed(tmp_path / place, PHOTOGRAPHS)
    files = _taken(written.format(root=tmp_path), root=tmp_path)
    assert {file.source for file in files} == {name}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("container", ["photos", "photos.tar", "photos.tar.gz"])
def test_a_name_that_is_no_utf8_is_passed_on(tmp_path: Path, container: str) -> None:
    name = os.fsdecode(b"Positive/\xff.jpg")
    source = _packed(tmp_path / container, PHOTOGRAPHS | {name: b"1"})
    assert name in [file.path for file in _taken(source)]
    assert len(_digest(source)) == 64


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Return a server that gives the reference data set as a real RAR5 archive."""
    content = _packed(tmp_path / "published.rar", PHOTOGRAPHS).read_bytes()
    with FileServer(photos=content) as server:
        server.names["photos"] = "Concrete Crack Images for Classification.rar"
        monkeypatch.setenv("CRACKS_MENDELEY_URL", server.base)
        # A proxy of this machine must not decide a test.
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server


@needs_libarchive
def test_the_reference_data_set_is_read_from_the_archive_that_is_kept(
    publisher: FileServer, tmp_path: Path, temporary: Path
) -> None:
    paths = Paths(tmp_path / "workspace")
    files = _taken("mendeley", root=paths.root)
    assert {file.path: file.content for file in files} == PHOTOGRAPHS
    assert {file.source for file in files} == {"mendeley"}
    kept = paths.raw / publisher.names["photos"]
    assert kept.read_bytes() == publisher.files["photos"]
    assert list(temporary.iterdir()) == []
    publisher.portal.close()
    assert _taken("mendeley", root=paths.root) == files
    assert _digest("mendeley", paths.root) == digest_of_file(kept)


@needs_libarchive
def test_only_what_a_publisher_gave_is_described(publisher: FileServer, tmp_path: Path) -> None:
    more = _packed(tmp_path / "more.zip", {"Positive/9.jpg": b"9"})
    paths = Paths(tmp_path / "workspace")
    with open_sources(ingest_params(["mendeley", more]), paths) as opened:
        described = opened.described_files()
    content, name = publisher.files["photos"], publisher.names["photos"]
    digest = digest_of_file(paths.raw / name)
    assert described == [f"{name}: {len(content):,} bytes, SHA-256 `{digest}`"]
    with open_sources(ingest_params(more), paths) as opened:
        assert opened.described_files() == []
