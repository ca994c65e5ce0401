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
from PIL import Image

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.dataset.manifest import manifest_table, with_column
from cracks.dataset.patch_facts import inspect_patch
from cracks.dataset.shards import ShardRow, ShardWriter, shard_name
from cracks.dataset.split.grouping import Likeness, components, find_likeness, run_links
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.params import SplitParams
from cracks.workspace.params_file import load_params
from tests.unit.builders import ROOT, encoded, saved, surface

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
def test_the_patches_of_each_run_are_linked_and_no_others(files: list[tuple[int, int]]) -> None:
    patch_of_file, runs = (np.array([file[i] for file in files], np.int64) for i in (0, 1))
    links = run_links(patch_of_file, runs)
    assert len(links) == len(files) - len(set(runs.tolist()))
    # Two files of one run are one group, whichever patches they are.
    by_run = [(i, j) for i, a in enumerate(files) for j, b in enumerate(files) if a[1] == b[1]]
    expected = _smallest_linked([(files[i][0], files[j][0]) for i, j in by_run], 10)
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


def _all(likeness: Likeness) -> npt.NDArray[np.bool_]:
    return np.ones(len(likeness.patches), bool)


def _cut(seed: int, right: int = 0) -> Grey:
    return surface(seed, size=SIDE + 20)[:SIDE, right : right + SIDE]


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
    assert _together(likeness, manifest, likeness.groups(used)) == groups
    assert (len(likeness.near_copies), len(likeness.recrops)) == (2, 2)
    assert len(likeness.patches) == len(FILES) - 1
    assert likeness.patches["id"].to_pylist() == sorted(set(manifest["id"].to_pylist()))
    ids = likeness.patches["id"].to_numpy()[likeness.patch_of_file]
    assert ids.tolist() == manifest["id"].to_pylist()


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"near_copy_distance": 0.0}, "near_copies"),
        ({"recrop_response": 1.0}, "recrops"),
    ],
)
def test_how_like_is_alike_is_for_the_parameters_to_say(
    tmp_path: Path, change: dict[str, float], lost: str
) -> None:
    manifest = _ingested(tmp_path, FILES)
    strict = find_likeness(manifest, tmp_path, PARAMS.model_copy(update=change))
    usual = find_likeness(manifest, tmp_path, PARAMS)
    assert len(getattr(strict, lost)) < len(getattr(usual, lost))


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    files = dict(sorted(FILES.items(), reverse=True))
    manifest = _ingested(tmp_path, files)
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    (tmp_path / "other").mkdir()
    given = _ingested(tmp_path / "other", FILES)
    expected = find_likeness(given, tmp_path / "other", PARAMS)
    used = _all(likeness)
    assert likeness.groups(used).tolist() == expected.groups(used).tolist()
    assert likeness.pictures(used).tolist() == expected.pictures(used).tolist()


def test_a_single_patch_is_a_group_by_itself(tmp_path: Path) -> None:
    manifest = _ingested(tmp_path, {"Positive/a.png": saved(_cut(1))})
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    assert likeness.groups(_all(likeness)).tolist() == [0]
    assert len(likeness.links(_all(likeness))) == 0


WARM, COLD = (150, 120, 90), (90, 120, 150)


def _photographed(*tints: tuple[int, int, int], seed: int = 0) -> dict[str, bytes]:
    """Return 35 patches of each photograph, numbered one after the other."""
    rng = np.random.default_rng(seed)
    files = {}
    for number in range(35 * len(tints)):
        pixels = rng.normal(tints[number // 35], 25, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        files[f"Positive/{number + 1:05}.png"] = encoded(Image.fromarray(pixels))
    return files


def test_the_patches_of_one_photograph_are_one_group(tmp_path: Path) -> None:
    manifest = _ingested(tmp_path, _photographed(WARM, COLD), side=32)
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    names = likeness.groups(_all(likeness))[likeness.patch_of_file].tolist()
    assert len(set(names[:35])) == len(set(names[35:])) == 1
    assert names[0] != names[-1]
    assert len(likeness.links(_all(likeness))) == 68


def test_two_sources_that_number_their_files_alike_are_two_sequences(tmp_path: Path) -> None:
    one, other = _photographed(WARM, COLD), _photographed(COLD, WARM, seed=1)
    files = {f"one/{path}": content for path, content in one.items()}
    files |= {f"other/{path}": content for path, content in other.items()}
    manifest = _ingested(tmp_path, files, side=32)
    sources, paths = zip(*(path.split("/", 1) for path in files), strict=True)
    manifest = with_column(with_column(manifest, "source", sources), "path", paths)
    likeness = find_likeness(manifest, tmp_path, PARAMS)
    names = likeness.groups(_all(likeness))[likeness.patch_of_file]
    # Where one ends is found to within two patches.
    inside = [set(names[start + 2 : start + 33].tolist()) for start in range(0, 140, 35)]
    assert [len(one) for one in inside] == [1] * 4
    assert len(set(names.tolist())) == 4
