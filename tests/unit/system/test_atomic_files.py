"""Outputs: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cracks.system import atomic_files as outputs
from cracks.system.atomic_files import atomic_replace, remove, restore, write_json
from tests.unit.builders import tree

NAMES = ("table", "folder")


def make_output(place: Path, content: str) -> None:
    """Write a file, or for the name `folder` a folder of two files."""
    if "folder" in place.name:
        place.mkdir()
        (place / content).write_text(content)
        (place / "same").write_text(content)
    else:
        place.write_text(content)


@pytest.fixture(params=NAMES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an output that is already there."""
    place = tmp_path / request.param
    make_output(place, "old")
    return place


@pytest.mark.parametrize("name", NAMES)
def test_an_output_appears_when_it_is_whole(tmp_path: Path, name: str) -> None:
    place = tmp_path / "made on the way" / name
    with atomic_replace(place) as partial:
        make_output(partial, "new")
        assert partial.parent == place.parent
        assert not place.exists()
    assert place.exists()
    assert not partial.exists()


def test_a_new_output_takes_the_place_of_the_old_one(old: Path) -> None:
    with atomic_replace(old) as partial:
        make_output(partial, "new")
    expected = old.with_name("expected folder" if old.is_dir() else "expected")
    make_output(expected, "new")
    assert tree(old) == tree(expected)
    assert old.is_dir() or old.read_text() == "new"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_stage_leaves_the_old_output_and_no_partial(
    old: Path, interruption: type[BaseException]
) -> None:
    def half_a_stage() -> None:
        with atomic_replace(old) as partial:
            make_output(partial, "half")
            raise interruption

    before = tree(old.parent)
    with pytest.raises(interruption):
        half_a_stage()
    assert tree(old.parent) == before


def test_a_stage_that_wrote_nothing_leaves_the_old_output(old: Path) -> None:
    before = tree(old.parent)
    with pytest.raises(FileNotFoundError), atomic_replace(old):
        pass
    assert tree(old.parent) == before


def test_a_move_that_fails_leaves_the_old_output(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, move = tree(old.parent), os.replace

    def fails(source: Path, target: Path) -> None:
        if Path(source).name == f".{old.name}.partial" and Path(target) == old:
            raise OSError("the disk is gone")
        move(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="the disk is gone"), atomic_replace(old) as partial:
        make_output(partial, "new")
    assert tree(old.parent) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that was about to be replaced: a neighbour is the new one."""
    make_output(tmp_path / "folder", "old")
    make_output(tmp_path / ".folder.partial", "new")
    return tmp_path / "folder"


def _aside(folder: Path) -> Path:
    return folder.with_name(".folder.old.partial")


def test_a_folder_set_aside_by_a_killed_process_is_put_back(folder: Path) -> None:
    before = tree(folder)
    folder.rename(_aside(folder))
    restore(folder)
    assert tree(folder) == before
    assert not _aside(folder).exists()
    restore(folder)
    assert tree(folder) == before


def test_a_folder_set_aside_is_removed_where_the_new_one_is_in_place(folder: Path) -> None:
    folder.rename(_aside(folder))
    folder.with_name(".folder.partial").rename(folder)
    after = tree(folder)
    (_aside(folder) / "old").unlink()  # the process was killed while it removed the old one
    restore(folder)
    assert tree(folder) == after
    assert not _aside(folder).exists()


def test_nothing_is_restored_where_nothing_was_set_aside(folder: Path) -> None:
    before = tree(folder.parent)
    restore(folder)
    restore(folder.with_name("nowhere"))
    assert tree(folder.parent) == before


def test_a_link_to_the_cache_is_replaced_and_the_cache_is_not(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("cached")
    (tmp_path / "out").symlink_to(tmp_path / "cache")
    outputs.write_text(tmp_path / "out", "new")
    assert (tmp_path / "cache").read_text() == "cached"
    assert not (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_whatever_is_there_can_be_removed(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "thing")
    remove(tmp_path / "thing")
    assert list(tmp_path.iterdir()) == []
    remove(tmp_path / "thing")  # and what is not there too


def test_removing_a_link_leaves_the_folder_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_json_keeps_the_order_of_its_keys_and_every_letter(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"z": 1, "a": "Özgenel"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "z": 1,\n  "a": "Özgenel"\n}\n'
