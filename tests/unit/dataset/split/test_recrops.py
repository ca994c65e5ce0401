"""Re-crops: a place of a photograph that was cut out twice is found, whatever else is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cracks.dataset.fingerprints import BLOCK, REDUCED, Fingerprints, Pairs, fingerprint
from cracks.dataset.split import lookalikes
from cracks.dataset.split.lookalikes import COMPARED, confirmed
from cracks.dataset.split.recrops import NEIGHBOURS, recrop_candidates, response
from tests.unit.builders import compared, surface

Grey = npt.NDArray[np.uint8]

#: That of params.yaml, and the side of a patch.
RESPONSE, SIDE = 0.6, 227


def _patch(seed: int, right: int = 0, down: int = 0) -> Grey:
    """Return a patch cut out of a photograph so many pixels further on."""
    return surface(seed, size=SIDE + 60)[30 + down :, 30 + right :][:SIDE, :SIDE]


def _taken(patches: Sequence[Grey]) -> Fingerprints:
    size, area = (REDUCED, REDUCED), cv2.INTER_AREA
    small = [cv2.resize(one.astype(np.float32), size, interpolation=area) for one in patches]
    return np.stack([fingerprint(one) for one in small])


def _anything(count: int, seed: int = 0) -> Fingerprints:
    drawn = np.random.default_rng(seed).integers(-500, 500, (count, BLOCK * BLOCK))
    return drawn.astype(np.int16)


MOVED: dict[str, Callable[[], Grey]] = {
    "10 pixels to the right": lambda: _patch(1, right=10),
    "10 pixels down": lambda: _patch(1, down=10),
    "10 pixels both ways": lambda: _patch(1, right=-10, down=10),
    "moved and mirrored": lambda: np.fliplr(_patch(1, right=10)),
    "moved and upside down": lambda: np.flipud(_patch(1, right=10)),
    "moved and turned round": lambda: np.rot90(_patch(1, right=10), 2),
}


@pytest.mark.parametrize("other", MOVED.values(), ids=MOVED.keys())
def test_a_crop_that_was_moved_and_mirrored_is_the_same_place(other: Callable[[], Grey]) -> None:
    assert response(compared(_patch(1)), compared(other())) > RESPONSE


def test_an_unrelated_surface_is_not_the_same_place() -> None:
    here = compared(_patch(1))
    assert max(response(here, compared(_patch(seed))) for seed in range(2, 12)) < RESPONSE / 2


def test_it_does_not_matter_which_of_two_crops_comes_first() -> None:
    one, other = compared(_patch(1)), compared(np.flipud(_patch(1, down=8)))
    assert response(one, other) == pytest.approx(response(other, one), abs=0.05)


# 64, 120 and 128 are fast to transform: OpenCV windows such pictures in place.
@pytest.mark.parametrize("side", [64, 99, COMPARED, 120, 128, 227])
def test_a_mirrored_picture_correlates_as_the_picture_itself(side: int) -> None:
    grey = surface(4, size=side)
    before = grey.copy()
    for mirrored in (grey, np.fliplr(grey), np.flipud(grey), np.rot90(grey, 2)):
        assert response(grey, mirrored) == pytest.approx(1, abs=1e-3)
    assert (grey == before).all()


def test_among_many_surfaces_the_ones_that_were_cut_twice_are_found_and_no_others() -> None:
    patches = [_patch(seed) for seed in range(40)]
    patches += [np.fliplr(_patch(seed, right=6, down=6)) for seed in range(0, 40, 4)]
    candidates = recrop_candidates(_taken(patches))
    loaded, seen = _loading(patches)
    advances: list[int] = []
    kept = confirmed(candidates, loaded, response, RESPONSE, advances.append)
    twice = {(seed, 40 + i) for i, seed in enumerate(range(0, 40, 4))}
    assert {(int(left), int(right)) for left, right in kept} == twice
    assert sum(advances) == len(candidates)
    assert set(seen) == set(candidates.ravel().tolist())


def _loading(
    patches: Sequence[Grey],
) -> tuple[Callable[[Sequence[int]], list[Grey]], list[int]]:
    """Return a function that gives patches, and the list of those that it was asked for."""
    seen: list[int] = []

    def load(rows: Sequence[int]) -> list[Grey]:
        seen.extend(rows)
        return [compared(patches[row]) for row in rows]

    return load, seen


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_it_does_not_matter_how_many_pairs_are_in_memory(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(lookalikes, "CHUNK", chunk)
    patches = [_patch(1), _patch(2), _patch(1, right=8), _patch(2, down=8), _patch(3)]
    candidates = np.array([[0, 2], [0, 1], [1, 3], [3, 4], [0, 4]])
    load, seen = _loading(patches)
    kept = confirmed(candidates, load, response, RESPONSE, lambda _: None)
    assert kept.tolist() == [[0, 2], [1, 3]]
    # Within a chunk no picture is read twice.
    assert len(seen) == sum(
        len(np.unique(candidates[start : start + chunk])) for start in range(0, 5, chunk)
    )


def test_where_there_are_no_candidates_no_picture_is_read() -> None:
    none: Pairs = np.zeros((0, 2), np.int64)
    load, seen = _loading([])
    assert confirmed(none, load, response, RESPONSE, lambda _: None).shape == (0, 2)
    assert seen == []


CROWDS: dict[str, Fingerprints] = {
    "all different": _anything(600),
    "all alike": (_anything(1) + _anything(600) // 100).astype(np.int16),
    "all equal": np.repeat(_anything(1), 600, axis=0),
    "a few kinds": np.tile(_anything(7), (90, 1)),
}


@pytest.mark.parametrize("taken", CROWDS.values(), ids=CROWDS.keys())
def test_the_candidates_grow_with_the_patches_not_with_their_square(taken: Fingerprints) -> None:
    pairs = recrop_candidates(taken)
    assert len(pairs) <= NEIGHBOURS * len(taken)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert pairs.size == 0 or pairs.max() < len(taken)


def test_surfaces_without_a_pattern_in_common_are_no_candidates() -> None:
    waves = [np.sin(2 * np.pi * cycles * np.arange(SIDE) / SIDE) for cycles in (1, 3)]
    patches = [np.tile(130 + 40 * wave, (SIDE, 1)).astype(np.uint8) for wave in waves]
    assert len(recrop_candidates(_taken(patches))) == 0


def test_two_crops_of_one_place_are_candidates_even_alone() -> None:
    taken = _taken([_patch(1), np.flipud(_patch(1, right=6))])
    assert recrop_candidates(taken).tolist() == [[0, 1]]


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_patch_has_nobody_to_be_compared_with(count: int) -> None:
    assert recrop_candidates(_anything(count)).shape == (0, 2)
