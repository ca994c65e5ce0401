"""Grouping: copies, near-copies, re-crops and photographs become groups, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset.border_strips import SHARE
from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.manifest import manifest_table, with_column
from cracks.dataset.patch_facts import inspect_patch
from cracks.dataset.shards import ShardRow, ShardWriter, shard_name
from cracks.dataset.split.components import chain_links, components
from cracks.dataset.split.grouping import Likeness, between, find_likeness
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.params import SplitParams, Unit
from cracks.workspace.params_file import load_params
from tests.unit.builders import ROOT, saved, surface

Grey = npt.NDArray[np.uint8]

PARAMS: SplitParams = load_params(ROOT / "params.yaml").split
SIDE = 227
GRAPHS = st.integers(1, 30).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40),
    )
)


def _smallest_linked(links: list[tuple[int, int]], count: int) -> list[int]:
    """Return the smallest node that each one is linked with, the slow and sure way."""
    names = list(range(count))
    for _ in range(count):
        for left, right in links:
            names[left] = names[right] = min(names[left], names[right])
    return names


@settings(max_examples=100, deadline=None)
@given(graph=GRAPHS)
def test_what_is_linked_in_any_number_of_steps_has_one_name(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    count, links = graph
    pairs = np.array(links, np.int64).reshape(-1, 2)
    names = components(pairs, count)
    assert names.tolist() == _smallest_linked(links, count)
    assert components(pairs[::-1, ::-1], count).tolist() == names.tolist()


def test_a_chain_of_many_patches_is_one_group() -> None:
    chain = np.stack([np.arange(9999), np.arange(1, 10_000)], axis=1)
    assert set(components(chain, 10_000).tolist()) == {0}


@settings(max_examples=50, deadline=None)
@given(files=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=30))
def test_the_patches_of_each_unit_are_linked_and_no_others(files: list[tuple[int, int]]) -> None:
    patch_of_file, units = (np.array([file[i] for file in files], np.int64) for i in (0, 1))
    links = chain_links(patch_of_file, units)
    assert len(links) == len(files) - len(set(units.tolist()))
    # Two files of one photograph are one group, whichever patches they are.
    by_unit = [(i, j) for i, a in enumerate(files) for j, b in enumerate(files) if a[1] == b[1]]
    expected = _smallest_linked([(files[i][0], files[j][0]) for i, j in by_unit], 10)
    assert components(links, 10).tolist() == expected


def _ingested(folder: Path, files: Mapping[str, bytes], side: int = SIDE) -> pa.Table:
    """Put files into a shard and return their manifest."""
    writer, places, rows = ShardWriter(folder, 10_000), {}, []
    for path, content in files.items():
        id_, label = digest_of_bytes(content), CRACK if "Positive" in path else NO_CRACK
        if id_ not in places:
            places[id_] = writer.add(ShardRow(id_, label, path, content))
        place = places[id_]
        known = {"id": id_, "source": "photos", "path": path, "label": label}
        known |= {"shard": shard_name(place.shard), "row": place.row}
        rows.append(known | vars(inspect_patch(content, side)))
    writer.flush()
    return manifest_table(rows)


def _together(likeness: Likeness, manifest: pa.Table, names: npt.NDArray[np.int64]) -> set[str]:
    """Return the paths of the files that share a name, joined, those alone left out."""
    paths: dict[int, list[str]] = {}
    for path, patch in zip(manifest["path"].to_pylist(), likeness.patch_of_file, strict=True):
        paths.setdefault(int(names[patch]), []).append(path)
    return {" ".join(sorted(members)) for members in paths.values() if len(members) > 1}


def _groups(likeness: Likeness, used: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return components(between(likeness.links(used), used), len(used))


def _all(likeness: Likeness) -> npt.NDArray[np.bool_]:
    return np.ones(len(likeness.patches), bool)


def _cut(seed: int, right: int = 0) -> Grey:
    return surface(seed, size=SIDE + 20)[:SIDE, right : right + SIDE]


def _tile(seed: int, right: int = 0) -> Grey:
    return surface(seed, size=2 * SIDE)[:SIDE, right : right + SIDE]


FILES = {
    "Positive/a.png": saved(_cut(1)),
    "Positive/a again.png": saved(_cut(1)),
    "Negative/a mirrored.jpg": saved(np.fliplr(_cut(1)), "JPEG", quality=80),
    "Positive/a moved.jpg": saved(np.flipud(_cut(1, right=10)), "JPEG", quality=90),
    "Positive/b.png": saved(_cut(2)),
    "Positive/b turned.png": saved(np.rot90(_cut(2))),
    "Negative/c.png": saved(_cut(3)),
    "Negative/d.png": saved(_cut(4)),
    "Negative/d moved.png": saved(_cut(4, right=8)),
    "Negative/e.jpg": saved(_tile(5), "JPEG", quality=90),
    "Negative/e beside.jpg": saved(_tile(5, right=170), "JPEG", quality=90),
}


def test_copies_mirrored_and_moved_pictures_are_told_apart_and_put_together(
    tmp_path: Path,
) -> None:
    manifest = _ingested(tmp_path, FILES)
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    a = "Negative/a mirrored.jpg Positive/a again.png"
    b = "Positive/b turned.png Positive/b.png"
    pictures = {f"{a} Positive/a.png", b}
    used = _all(likeness)
    assert _together(likeness, manifest, likeness.pictures(used)) == pictures
    groups = {f"{a} Positive/a moved.jpg Positive/a.png", b, "Negative/d moved.png Negative/d.png"}
    groups.add("Negative/e beside.jpg Negative/e.jpg")
    assert _together(likeness, manifest, _groups(likeness, used)) == groups
    found = (likeness.near_copies, likeness.recrops, likeness.overlaps)
    assert [len(pairs) for pairs in found] == [2, 2, 1]
    assert len(likeness.patches) == len(FILES) - 1
    assert likeness.patches["id"].to_pylist() == sorted(set(manifest["id"].to_pylist()))
    ids = likeness.patches["id"].to_numpy()[likeness.patch_of_file]
    assert ids.tolist() == manifest["id"].to_pylist()


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"near_copy_distance": 0.0}, "near_copies"),
        ({"recrop_response": 1.0}, "recrops"),
        ({"overlap_correlation": 1.0}, "overlaps"),
    ],
)
def test_how_like_is_alike_is_for_the_parameters_to_say(
    tmp_path: Path, change: dict[str, float], lost: str
) -> None:
    manifest = _ingested(tmp_path, FILES)
    strict = find_likeness(manifest, tmp_path, PARAMS.model_copy(update=change))
    usual = find_likeness(manifest, tmp_path, PARAMS)
    assert len(getattr(strict, lost)) < len(getattr(usual, lost))


def test_tiles_that_overlap_are_one_group_and_no_copies(tmp_path: Path) -> None:
    step = round(SIDE * (1 - SHARE))
    tiles = {
        f"Positive/{photo} {down} {right}.jpg": saved(
            surface(photo, size=SIDE + step)[down:, right:][:SIDE, :SIDE], "JPEG", quality=90
        )
        for photo in (1, 2, 3)
        for down in (0, step)
        for right in (0, step)
    }
    manifest = _ingested(tmp_path, tiles)
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    used = _all(likeness)
    expected = {" ".join(name for name in tiles if f"/{photo} " in name) for photo in (1, 2, 3)}
    assert _together(likeness, manifest, _groups(likeness, used)) == expected
    assert _together(likeness, manifest, likeness.pictures(used)) == set()
    # Of one photograph they are tied already; of two they show that these are one place.
    for photos, looked_at in ((["a"] * 4 + ["b"] * 4 + ["c"] * 4, 0), (list("abcdefghijkl"), 12)):
        named = with_column(manifest, "photo", photos)
        found = find_likeness(named, tmp_path, PARAMS)
        assert len(found.overlaps) == looked_at
        assert _together(found, manifest, _groups(found, used)) == expected


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    files = dict(sorted(FILES.items(), reverse=True))
    manifest = _ingested(tmp_path, files)
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    (tmp_path / "other").mkdir()
    given = _ingested(tmp_path / "other", FILES)
    expected = find_likeness(given, tmp_path / "other", PARAMS)
    used = _all(likeness)
    assert _groups(likeness, used).tolist() == _groups(expected, used).tolist()
    assert likeness.pictures(used).tolist() == expected.pictures(used).tolist()


def test_a_single_patch_is_a_group_by_itself(tmp_path: Path) -> None:
    manifest = _ingested(tmp_path, {"Positive/a.png": saved(_cut(1))})
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    assert _groups(likeness, _all(likeness)).tolist() == [0]
    assert len(likeness.links(_all(likeness))) == 0


def _of_photographs(folder: Path, *places: tuple[str, str | None]) -> pa.Table:
    """Return the manifest of patches that look like no other, each of a site and a photograph."""
    files = {f"Positive/{number}.png": saved(_cut(number)) for number in range(len(places))}
    manifest = _ingested(folder, files)
    sites, photos = zip(*places, strict=True)
    return with_column(with_column(manifest, "site", sites), "photo", photos)


PLACES = [
    ("pier", "a"),
    ("pier", "a"),
    ("pier", "b"),
    ("deck", "a"),
    ("deck", None),
    ("deck", None),
]


@pytest.mark.parametrize(
    ("unit", "expected"), [("photo", [0, 0, 2, 3, 4, 5]), ("site", [0, 0, 0, 3, 3, 3])]
)
def test_the_patches_of_one_photograph_or_site_are_one_group(
    tmp_path: Path, unit: Unit, expected: list[int]
) -> None:
    manifest = _of_photographs(tmp_path, *PLACES)
    likeness = find_likeness(manifest, tmp_path, PARAMS.model_copy(update={"unit": unit}))
    of_file = _groups(likeness, _all(likeness))[likeness.patch_of_file]
    _, first, names = np.unique(of_file, return_index=True, return_inverse=True)
    assert first[names].tolist() == expected


def test_near_copies_tie_photographs_whatever_their_names_say(tmp_path: Path) -> None:
    files = {"Positive/a.png": saved(_cut(1)), "Positive/b.jpg": saved(_cut(1), "JPEG", quality=90)}
    manifest = with_column(_ingested(tmp_path, files), "photo", ["a", "b"])
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    assert len(set(_groups(likeness, _all(likeness)).tolist())) == 1
