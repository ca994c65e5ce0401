"""Sources: the same photographs whatever holds them, and nothing written where it must not be."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cracks.digests import digest_of_file
from cracks.errors import SourceError
from cracks.labels import CRACK, NO_CRACK
from cracks.sources import SourceFile, open_source
from tests.unit.builders import ingest_params, tree, write_files

TARS = ("photos.tar", "photos.tar.gz", "photos.tgz", "photos.tar.bz2", "photos.tar.xz")
ARCHIVES = ("photos.zip", *TARS)
CONTAINERS = ("photos", *ARCHIVES)

#: In the order in which an archive holds them.
NAMES = ("Positive/00002.jpg", "Negative/00002.jpg", "Positive/00001.jpg", "Negative/00001.jpg")


def _noise(size: int) -> dict[str, bytes]:
    """Return photographs that no archive can shrink."""
    rng = np.random.default_rng(0)
    return {name: rng.bytes(size) for name in NAMES}


PHOTOGRAPHS = _noise(3000)


def _packed(path: Path, files: Mapping[str, bytes]) -> Path:
    """Put files into a folder, a zip or a tar, as the name says."""
    if path.suffix == "":
        return write_files(path, files)
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


def _taken(source: Path | str, root: Path = Path()) -> list[SourceFile]:
    with open_source(ingest_params(source), root) as opened:
        files = list(opened.files())
        assert [file.path for file in files] == opened.paths()
        return files


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
        SourceFile(path, label[path.split("/")[0]], PHOTOGRAPHS[path])
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


@pytest.mark.parametrize("name", ["photos.rar", "photo.jpg"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not an archive")
    _refused(tmp_path / name, r"neither a folder nor a \.zip or \.tar\.\* archive")


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("content", [b"", b"not an archive" * 500])
def test_an_archive_in_name_only_is_refused(tmp_path: Path, archive: str, content: bytes) -> None:
    (tmp_path / archive).write_bytes(content)
    _refused(tmp_path / archive, "is damaged or cut short")


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("kept", [0.05, 0.4, 0.6])
def test_an_archive_cut_short_is_refused(tmp_path: Path, archive: str, kept: float) -> None:
    source = _packed(tmp_path / archive, PHOTOGRAPHS)
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * kept)])
    _refused(source, r"is damaged or cut short .* Fetch it again")


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
    content = bytearray(source.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    source.write_bytes(content)
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


def test_a_relative_source_is_meant_from_the_workspace(tmp_path: Path) -> None:
    _packed(tmp_path / "data" / "photos", PHOTOGRAPHS)
    assert len(_taken("data/photos", root=tmp_path)) == len(PHOTOGRAPHS)


def test_the_digest_of_a_folder_changes_with_every_name_and_content(tmp_path: Path) -> None:
    name = "Positive/00001.jpg"
    renamed = {path.replace("00001", "1"): content for path, content in PHOTOGRAPHS.items()}
    variants = [PHOTOGRAPHS, PHOTOGRAPHS | {name: b"other"}, renamed, dict(PHOTOGRAPHS)]
    digests = []
    for i, files in enumerate(variants):
        with open_source(ingest_params(_packed(tmp_path / str(i), files)), tmp_path) as source:
            digests.append(source.digest())
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar.gz"])
def test_the_digest_of_an_archive_is_its_sha256(tmp_path: Path, archive: str) -> None:
    path = _packed(tmp_path / archive, PHOTOGRAPHS)
    with open_source(ingest_params(path), tmp_path) as source:
        assert source.digest() == digest_of_file(path)


def test_the_drawn_sample_is_a_source_like_any_other(tmp_path: Path) -> None:
    files = _taken("sample", root=tmp_path)
    assert [file.label for file in files] == [NO_CRACK, NO_CRACK, CRACK, CRACK]
