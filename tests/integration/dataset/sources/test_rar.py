"""Archives of RAR: what they hold comes out unharmed or not at all, and never in another place."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from ctypes.util import find_library
from pathlib import Path

import pytest

from cracks.dataset.ingest.sources import rar
from cracks.dataset.ingest.sources.rar import Unreadable, extract_rar
from cracks.errors import SourceError
from tests.rar import COPY, HARDLINK, SYMLINK, Member, write_rar, write_rar_with_encrypted_headers
from tests.unit.builders import ROOT, tree, write_files

SAMPLES = ROOT / "tests/data"

pytestmark = pytest.mark.skipif(
    find_library("archive") is None or importlib.util.find_spec("libarchive") is None,
    reason="libarchive13 is not installed",
)
needs_unar = pytest.mark.skipif(shutil.which("unar") is None, reason="unar is not installed")

FILES = {
    "Positive/00001.jpg": b"one" * 9000,
    "Negative/ä 𝐀.jpg": b"two" * 9000,
    "Negative/empty.jpg": b"",
}

#: What the samples hold: path -> size and CRC32.
SUBDIRS = {
    "sub/dir1/file1.txt": (6, 0xE229F704),
    "sub/dir2/file2.txt": (6, 0xC904A4C7),
    "sub/with space/long fn.txt": (8, 0x71B7247D),
    "sub/üȵĩöḋè/file.txt": (5, 0x2FEC89C1),
}
TWO_TEXTS = {"stest1.txt": (2048, 0xC5B7E6A2), "stest2.txt": (2048, 0xC5B7E6A2)}


def _without_libarchive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rar, "has_libarchive", lambda: False)


def _without_unar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rar, "has_unar", lambda: False)


@pytest.fixture(params=["libarchive", pytest.param("unar", marks=needs_unar)])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only one of the two tools to unpack with."""
    remove = _without_unar if request.param == "libarchive" else _without_libarchive
    remove(monkeypatch)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    """Check that no temporary file stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def _every(name: str) -> bool:
    return True


def _unpacked(
    archive: Path, target: Path, wanted: Callable[[str], bool] = _every
) -> dict[str, bytes]:
    """Unpack into target/in; return the files, and find nothing else."""
    folder = target / "in"
    folder.mkdir(parents=True)
    extract_rar(archive, folder, wanted)
    assert [path.name for path in target.iterdir()] == ["in"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {name: content for name, content in tree(folder).items() if content is not None}


def _refused(archive: Path, tmp_path: Path, reason: str) -> None:
    """Assert that an archive is refused in one line and leaves nothing beside its folder."""
    target = tmp_path / "target"
    with pytest.raises(SourceError, match=re.compile(reason)) as refusal:
        _unpacked(archive, target)
    assert len(str(refusal.value).splitlines()) == 1
    assert [path.name for path in target.iterdir()] == ["in"]
    shutil.rmtree(target)


def _members(files: dict[str, bytes] = FILES) -> list[Member]:
    return [Member(name, content) for name, content in files.items()]


def _facts(files: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    return {name: (len(content), zlib.crc32(content)) for name, content in files.items()}


def test_the_files_of_an_archive_come_out_as_they_went_in(tmp_path: Path, way: None) -> None:
    folders = [Member(name, is_folder=True, mode=0o40755) for name in ("Negative", "nothing")]
    archive = write_rar(tmp_path / "photos.rar", [*_members(), *folders])
    assert _unpacked(archive, tmp_path / "target") == FILES


def test_only_what_is_wanted_is_written(tmp_path: Path, way: None) -> None:
    archive = write_rar(tmp_path / "photos.rar", _members(FILES | {"masks/1.png": b"mask"}))
    wanted = dict.fromkeys(["Positive/00001.jpg"])
    assert _unpacked(archive, tmp_path / "target", wanted.__contains__).keys() == wanted.keys()
    assert _unpacked(archive, tmp_path / "none", lambda _name: False) == {}


def test_the_files_are_counted_while_they_come_out(
    tmp_path: Path, way: None, capsys: pytest.CaptureFixture[str]
) -> None:
    _unpacked(write_rar(tmp_path / "photos.rar", _members()), tmp_path / "target")
    assert "Unpacking: 3 of 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sample", "facts"),
    [
        ("rar5-crc.rar", TWO_TEXTS),
        ("rar5-blake.rar", TWO_TEXTS),
        ("rar5-solid.rar", TWO_TEXTS),
        ("rar5-subdirs.rar", SUBDIRS),
        ("seektest.rar", TWO_TEXTS),
        ("rar3-subdirs.rar", SUBDIRS),
    ],
)
def test_what_rar_itself_packed_is_read(
    tmp_path: Path, way: None, sample: str, facts: dict[str, tuple[int, int]]
) -> None:
    assert _facts(_unpacked(SAMPLES / sample, tmp_path / "target")) == facts


@needs_unar
def test_unar_reads_what_libarchive_cannot(tmp_path: Path) -> None:
    assert _facts(_unpacked(SAMPLES / "rar3-solid.rar", tmp_path / "target")) == TWO_TEXTS


@needs_unar
def test_unar_takes_over_where_libarchive_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_archive: object, _chosen: rar.Members, folder: Path) -> None:
        write_files(folder, {"Positive/half.jpg": b"half"})
        raise Unreadable("for a reason")

    monkeypatch.setattr(rar, "unpack_with_libarchive", fail)
    archive = write_rar(tmp_path / "photos.rar", _members())
    assert _unpacked(archive, tmp_path / "target") == FILES


@needs_unar
def test_a_neighbour_with_another_number_is_no_part_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_libarchive(monkeypatch)
    for number in (3, 4, 5):
        write_rar(tmp_path / f"photos{number}-v.rar", [Member(f"{number}.jpg", b"content")])
    shutil.copy(SAMPLES / "rar3-subdirs.rar", tmp_path / "photos3-v.rar")
    assert _unpacked(tmp_path / "photos5-v.rar", tmp_path / "target") == {"5.jpg": b"content"}


@pytest.mark.parametrize("name", ["../evil.jpg", "Positive/../../evil.jpg", "{tmp}/evil.jpg"])
def test_a_member_that_points_outside_is_never_written(
    tmp_path: Path, way: None, name: str
) -> None:
    archive = write_rar(
        tmp_path / "photos.rar", [*_members(), Member(name.format(tmp=tmp_path), b"evil")]
    )
    _refused(archive, tmp_path, "points outside")
    assert not list(tmp_path.rglob("evil.jpg"))


@pytest.mark.parametrize("kind", [SYMLINK, HARDLINK])
def test_links_are_neither_made_nor_followed(tmp_path: Path, way: None, kind: int) -> None:
    outside = write_files(tmp_path / "outside", {"secret": b"secret"})
    mode = 0o120777 if kind == SYMLINK else 0o100644
    links = {"Positive/a.jpg": f"{outside}/secret", "Positive/link": str(outside), "up": ".."}
    files = dict.fromkeys(["Positive/a.jpg", "Positive/link/secret", "up/evil"], b"evil")
    members = [
        *(Member(name, redirected=kind, target=to, mode=mode) for name, to in links.items()),
        *_members(files),
    ]
    archive = write_rar(tmp_path / "photos.rar", members)
    assert _unpacked(archive, tmp_path / "target") == files
    assert tree(outside) == {"secret": b"secret"}


@pytest.mark.parametrize(
    ("sample", "names"),
    [
        ("rar5-evil-symlink-traversal.rar", ["up/pwned.txt"]),
        ("rar5-hlink.rar", ["stest1.txt"]),
        ("rar5-symlink-unix.rar", ["data.txt"]),
    ],
)
def test_links_that_rar_itself_packed_are_left_out(
    tmp_path: Path, way: None, sample: str, names: list[str]
) -> None:
    assert list(_unpacked(SAMPLES / sample, tmp_path / "target")) == names


def test_devices_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_unar(monkeypatch)  # which takes them for files of RAR 5, and writes files
    devices = [Member(f"Positive/{mode:o}.jpg", mode=mode) for mode in (0o20644, 0o60644, 0o10644)]
    archive = write_rar(tmp_path / "photos.rar", [*devices, *_members()])
    assert _unpacked(archive, tmp_path / "target") == FILES


def test_equal_files_that_are_only_referred_to_are_refused(tmp_path: Path, way: None) -> None:
    _refused(SAMPLES / "rar5-dups.rar", tmp_path, "'stest2.txt' only as a reference")
    copy = Member("Positive/2.jpg", redirected=COPY, target="Positive/00001.jpg")
    archive = write_rar(tmp_path / "photos.rar", [*_members(), copy])
    _refused(archive, tmp_path, "'Positive/2.jpg' only as a reference")


@pytest.mark.parametrize("name", ["Positive/00001.jpg", "./Positive//00001.jpg"])
def test_two_members_of_one_name_are_refused(tmp_path: Path, way: None, name: str) -> None:
    archive = write_rar(tmp_path / "photos.rar", [*_members(), Member(name, b"other")])
    _refused(archive, tmp_path, "'.*Positive/.*00001.jpg' twice")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_name_of_both_a_file_and_a_folder_is_refused(
    tmp_path: Path, way: None, names: tuple[str, str]
) -> None:
    archive = write_rar(tmp_path / "photos.rar", [Member(name, b"content") for name in names])
    _refused(archive, tmp_path, "as a file and as a folder|damaged or cut short")


@pytest.mark.parametrize("sample", ["rar5-solid.rar", "rar3-solid.rar"])
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, sample: str) -> None:
    whole = (SAMPLES / sample).read_bytes()
    archive = tmp_path / "photos.rar"
    for length in range(len(whole)):
        archive.write_bytes(whole[:length])
        _refused(archive, tmp_path, "damaged or cut short .* Fetch it again")


@pytest.mark.parametrize(
    ("sample", "place"),
    [
        ("rar5-crc.rar", 15),  # in the main header
        ("rar5-crc.rar", 120),  # in what is compressed
        ("rar5-crc.rar", 1000),  # in what is stored
        ("rar5-blake.rar", 1000),  # in what is stored, with a BLAKE2 checksum
        ("rar5-solid.rar", 100),
        ("seektest.rar", 100),
        ("seektest.rar", 1000),
        ("rar3-subdirs.rar", 78),
    ],
)
def test_a_flipped_byte_is_noticed(tmp_path: Path, way: None, sample: str, place: int) -> None:
    content = bytearray((SAMPLES / sample).read_bytes())
    content[place] ^= 0xFF
    (tmp_path / "photos.rar").write_bytes(content)
    _refused(tmp_path / "photos.rar", tmp_path, "damaged or cut short .* Fetch it again")


def test_a_member_that_does_not_come_out_under_its_name_is_noticed(
    tmp_path: Path, way: None
) -> None:
    misnamed = Member("Positive/\udcff.jpg", b"content")  # a byte that is no UTF-8
    archive = write_rar(tmp_path / "photos.rar", [*_members(), misnamed])
    _refused(archive, tmp_path, "damaged or cut short .Positive/.*.jpg: not unpacked")


@pytest.mark.parametrize(
    "sample", ["rar3-comment-psw.rar", "rar3-comment-hpsw.rar", "rar5-psw.rar", "rar5-hpsw.rar"]
)
def test_an_encrypted_archive_is_refused_with_the_remedy(tmp_path: Path, sample: str) -> None:
    _refused(SAMPLES / sample, tmp_path, "is encrypted. Unpack it by hand with its password")


def test_encryption_is_seen_even_where_a_tool_would_return_the_noise(tmp_path: Path) -> None:
    member = Member("Positive/1.jpg", b"noise", encrypted=True)
    _refused(write_rar(tmp_path / "a.rar", [*_members(), member]), tmp_path, "is encrypted")
    _refused(write_rar_with_encrypted_headers(tmp_path / "b.rar"), tmp_path, "is encrypted")


def _parts(folder: Path) -> list[Path]:
    contents = list(FILES.items())
    return [
        write_rar(
            folder / f"photos.part{number + 1}.rar",
            [Member(*contents[number])],
            volume=number,
            is_last=number == 2,
        )
        for number in range(3)
    ]


@needs_unar
@pytest.mark.parametrize("named", [0, 1])
def test_an_archive_of_several_parts_is_read_as_one(tmp_path: Path, named: int) -> None:
    assert _unpacked(_parts(tmp_path)[named], tmp_path / "target") == FILES


@needs_unar
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_noticed(tmp_path: Path, missing: int) -> None:
    parts = _parts(tmp_path)
    parts.pop(missing).unlink()
    named = f"Cannot open next volume: .*photos.part{missing + 1}.rar"
    _refused(parts[0], tmp_path, named if missing else "part 1 is missing")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("part", "is one of several parts"), ("rar3-solid.rar", "is a solid archive of RAR 4")],
)
def test_what_only_unar_reads_names_it_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reason: str
) -> None:
    _without_unar(monkeypatch)
    archive = _parts(tmp_path)[0] if kind == "part" else SAMPLES / kind
    _refused(archive, tmp_path, f"{reason}, which only unar reads: `apt-get install unar`")


def test_a_comment_is_not_unpacked_which_would_take_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("rarfile.CURRENT_SETUP", None)
    _refused(SAMPLES / "rar3-comment-plain.rar", tmp_path, "libarchive cannot.$")


def test_without_the_library_the_refusal_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIBARCHIVE", raising=False)
    for module in [name for name in sys.modules if name.split(".")[0] == "libarchive"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    _without_unar(monkeypatch)
    archive = write_rar(tmp_path / "photos.rar", _members())
    _refused(archive, tmp_path, "needs libarchive: `apt-get install libarchive13` .or unar.")


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_unar(monkeypatch)
    archive = write_rar(tmp_path / "photos.rar", [Member("Positive/" + "1" * 300, b"content")])
    _refused(archive, tmp_path, "cannot be unpacked to .*: File name too long")
