"""Image files: found in folders whatever else lies there, each once and in a fixed order."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cracks.errors import StorageError, UnreadableImage
from cracks.images.files import ImageFile, content_of, find_images, prefetched
from tests.unit.builders import write_files


def names(place: Path, *places: str) -> list[str]:
    return [
        os.path.relpath(file.name, place)
        for file in find_images([str(place / one) for one in places or ("",)])
    ]


def test_a_folder_is_searched_to_its_depths_in_a_fixed_order(tmp_path: Path) -> None:
    wanted = ["a.jpg", "b.PNG", "c/d.tiff", "c/e/f.webp", "g/h.jpeg"]
    others = ["notes.txt", ".DS_Store", ".thumbs/a.jpg", "c/._d.jpg", "g/answers.parquet"]
    write_files(tmp_path, dict.fromkeys([*wanted, *others], b"x"))
    assert names(tmp_path) == wanted


def test_a_file_that_is_named_counts_whatever_its_ending(tmp_path: Path) -> None:
    write_files(tmp_path, {"scan": b"x", "c/a.jpg": b"x"})
    assert names(tmp_path, "scan", "c") == ["scan", "c/a.jpg"]


def test_what_is_named_twice_counts_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jpg": b"x", "b.jpg": b"x"})
    assert names(tmp_path, "b.jpg", "", "b.jpg") == ["b.jpg", "a.jpg"]


def test_pictures_that_were_written_beside_the_images_are_not_taken_for_such(
    tmp_path: Path,
) -> None:
    write_files(tmp_path, {"a.jpg": b"x", "out/photos/a/overlay.jpg": b"x", "photos/b.jpg": b"x"})
    found = find_images([str(tmp_path)], without=tmp_path / "out" / "photos")
    assert [Path(file.name).name for file in found] == ["a.jpg", "b.jpg"]


def test_without_the_client_of_the_storage_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match=r"boto3 is not installed.*uv sync --group pipeline"):
        find_images(["s3://bucket/prefix"])


@pytest.mark.parametrize("place", ["nowhere", "nowhere.jpg", "empty"])
def test_a_place_without_an_image_is_refused(tmp_path: Path, place: str) -> None:
    write_files(tmp_path, {"empty/notes.txt": b"x"})
    with pytest.raises(StorageError, match=place):
        names(tmp_path, place)


def test_the_stamp_changes_with_the_content_and_not_without(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jpg": b"x", "b.jpg": b"x"})
    before = find_images([str(tmp_path)])
    assert before[0].stamp == find_images([str(tmp_path)])[0].stamp
    (tmp_path / "a.jpg").write_bytes(b"another")
    after = find_images([str(tmp_path)])
    assert before[0].stamp != after[0].stamp
    assert before[1].stamp == after[1].stamp


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "nowhere")
    (file,) = find_images([str(tmp_path)])
    with pytest.raises(UnreadableImage, match="cannot be read: No such file"):
        content_of(file)


def test_files_far_away_are_fetched_ahead_and_stay_in_order() -> None:
    taken: list[int] = []

    def files(count: int) -> list[ImageFile]:
        def reading(number: int) -> ImageFile:
            def read() -> bytes:
                taken.append(number)
                return str(number).encode()

            return ImageFile(str(number), "", read, remote=number % 7 != 0)

        return [reading(number) for number in range(count)]

    # Read late, as whoever decodes in another thread does.
    ordered = [(file.name.encode(), content_of(file)) for file in list(prefetched(files(100)))]
    assert [name for name, _ in ordered] == [content for _, content in ordered]
    assert sorted(taken) == list(range(100))
    assert [name for name, _ in ordered] == [str(number).encode() for number in range(100)]
