"""Draw marks on a surface: cracks, and what may be taken for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from cracks.images.synthetic_canvas import (
    PATCH_SIZE,
    Field,
    Pixels,
    Points,
    Rng,
    Size,
    any_line,
    averaged,
    blank,
    fixed,
    noise,
    ramp,
    shifted,
)

# A mark on the surface: where it lies (height, width) and how much red, green and blue it takes
# there. Both may be negative: the lit rim of a hole gives light back, and so does a pale stain.
Mark = tuple[Field, Field]
Draw = Callable[[Rng, Size], Mark]


def paint(surface: Field, marks: Sequence[Mark]) -> Field:
    """Put marks on a surface, in its place.

    Args:
        surface: float32 (3, height, width), one plane a colour.
        marks: of the same height and width.

    Returns:
        the surface.
    """
    for mask, absorption in marks:
        for plane, taken in zip(surface, absorption, strict=True):
            plane -= plane * (mask * taken)
    return surface


# --- marks that are no cracks ---------------------------------------------------------------------


def bystanders(rng: Rng, size: Size) -> list[Mark]:
    """Return marks that are found on clean and on cracked concrete alike."""
    chances: tuple[tuple[Draw, float], ...] = (
        (_stain, 0.4),
        (_water_mark, 0.25),
        (_pebbles, 0.35),
        (_pores, 0.7),
        (_scratches, 0.3),
        (_shadow, 0.25),
        (_joint, 0.15),
        (stand_in, 0.25),  # so that no kind of mark is found on clean patches only
    )
    return [draw(rng, size) for draw, chance in chances if rng.random() < chance]


def stand_in(rng: Rng, size: Size) -> Mark:
    """Return a mark that is as dark as a crack, and none."""
    weights: tuple[tuple[Draw, int], ...] = (
        (_joint, 3),
        (_holes, 2),
        (_pits, 1),
        (_shadow_band, 1),
        (_dark_patch, 2),
    )
    draws = [draw for draw, weight in weights for _ in range(weight)]
    return draws[int(rng.integers(len(draws)))](rng, size)


def _absorption(rng: Rng, depth: float) -> Field:
    warmth = rng.normal(0, 0.05)
    return np.array([depth * (1 - warmth), depth, depth * (1 + warmth)], np.float32)


def _stain(rng: Rng, size: Size) -> Mark:
    blob = _ragged(rng, int(rng.integers(3, 8)), size) - np.float32(rng.uniform(0.2, 1.0))
    rust = np.array([0.6, 1.0, 1.4] if rng.random() < 0.3 else [1, 1, 1], np.float32)
    return ramp(blob, rng.uniform(0.1, 1.0)), _absorption(rng, rng.uniform(-0.22, 0.3)) * rust


def _dark_patch(rng: Rng, size: Size) -> Mark:
    blob = _ragged(rng, int(rng.integers(4, 12)), size) - np.float32(rng.uniform(1.1, 1.6))
    return ramp(blob, rng.uniform(0.15, 0.5)), _absorption(rng, rng.uniform(0.5, 0.9))


def _ragged(rng: Rng, cells: int, size: Size) -> Field:
    fine = np.float32(0.22) * noise(rng, cells * 6, size=size)
    fine += np.float32(0.12) * noise(rng, 90, size=size)
    return noise(rng, cells, size=size) + fine


def _water_mark(rng: Rng, size: Size) -> Mark:
    height = noise(rng, int(rng.integers(3, 6)), size=size)
    level = height - np.float32(rng.uniform(-0.5, 0.5))
    ring = np.exp(-np.square(level / np.float32(rng.uniform(0.1, 0.3))))
    return ring, _absorption(rng, rng.uniform(-0.15, 0.18))


def _shadow(rng: Rng, size: Size) -> Mark:
    side = any_line(rng, size)
    side += np.float32(rng.uniform(0, 8)) * noise(rng, 4, size=size)
    return ramp(side, float(np.exp(rng.uniform(0, 3.7)))), _absorption(rng, rng.uniform(0.1, 0.45))


def _shadow_band(rng: Rng, size: Size) -> Mark:
    distance = np.abs(any_line(rng, size))
    half_width, softness = rng.uniform(3, 16), rng.uniform(2, 10)
    return ramp(half_width - distance, softness), _absorption(rng, rng.uniform(0.3, 0.7))


def _joint(rng: Rng, size: Size) -> Mark:
    side = any_line(rng, size)
    side += np.float32(rng.uniform(0.1, 0.5)) * noise(rng, 60, size=size)  # chipped, but straight
    width, depth = _width_and_depth(rng)
    line = ramp(width / 2 - np.abs(side), 1.0)
    if rng.random() < 0.25:
        line = np.maximum(line, ramp(width / 2 - np.abs(side - rng.uniform(15, 70)), 1.0))
    if rng.random() < 0.4:  # a cold joint: the two pours have different tones
        line = line + np.float32(rng.uniform(0, 0.25)) * ramp(side, 1.0)
    return _with_lit_rim(rng, line), _absorption(rng, depth)


def _width_and_depth(rng: Rng) -> tuple[float, float]:
    # Cracks and joints draw from the same widths and depths: only their shape tells them apart.
    # The narrower a line, the less of it survives a resize, so hairlines are not also faint.
    width = float(np.exp(rng.uniform(np.log(1.6), np.log(11))))
    return width, rng.uniform(0.6 if width < 3 else 0.45, 0.9)


def _with_lit_rim(rng: Rng, mask: Field) -> Field:
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2.5)
    rim = shifted(mask, reach * np.cos(angle), reach * np.sin(angle)) - mask
    return np.asarray(mask - np.float32(rng.uniform(0, 0.35)) * np.clip(rim, 0, 1), np.float32)


def _dots(
    rng: Rng,
    size: Size,
    count: tuple[int, int],  # to a patch
    radius: tuple[float, float],
    depth: tuple[float, float],
) -> Mark:
    patches = size[0] * size[1] / PATCH_SIZE**2
    mask = _ellipses(rng, size, round(int(rng.integers(*count)) * patches), *radius)
    return _with_lit_rim(rng, mask), _absorption(rng, rng.uniform(*depth))


_pores = partial(_dots, count=(3, 45), radius=(0.6, 2.6), depth=(0.2, 0.7))
_holes = partial(_dots, count=(2, 14), radius=(3.0, 11.0), depth=(0.5, 0.95))
_pits = partial(_dots, count=(40, 110), radius=(0.8, 4.0), depth=(0.55, 0.95))
_pebbles = partial(_dots, count=(5, 70), radius=(1.5, 8.0), depth=(-0.3, 0.3))


def _ellipses(rng: Rng, size: Size, count: int, smallest: float, largest: float) -> Field:
    canvas = blank(size)
    long = smallest * (largest / smallest) ** rng.uniform(0, 1, count)
    centres = _anywhere(rng, size, count)
    outlines = fixed(centres[:, None] + _outlines(rng, long, long * rng.uniform(0.5, 1, count)))
    for outline, grey in zip(outlines, rng.uniform(120, 255, count), strict=True):
        cv2.fillConvexPoly(canvas, outline, grey, cv2.LINE_AA, 4)
    return averaged(canvas)


def _anywhere(rng: Rng, size: Size, count: int) -> Points:
    """Return points of the picture, (count, 2): to the right and down."""
    return rng.uniform(0, size[::-1], (count, 2))


def _outlines(rng: Rng, long: Points, short: Points) -> Points:
    # Dented ellipses of ten corners each, (count, 10, 2), around 0 and turned anyhow.
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radius = 1 + rng.normal(0, 0.12, (len(long), 10))
    turn = rng.uniform(0, np.pi, (len(long), 1))
    ahead, aside = long[:, None] * radius * np.cos(around), short[:, None] * radius * np.sin(around)
    x = ahead * np.cos(turn) - aside * np.sin(turn)
    y = ahead * np.sin(turn) + aside * np.cos(turn)
    return np.stack([x, y], axis=2)


def _scratches(rng: Rng, size: Size) -> Mark:
    canvas = blank(size)
    for _ in range(int(rng.integers(1, 5))):
        start, end = _anywhere(rng, size, 2)
        along = np.linspace(0, 1, 24)[:, None]
        bow = rng.normal(0, 6, 2) * 4 * along * (1 - along)
        path = start + (end - start) * along + bow
        cv2.polylines(canvas, [fixed(path)], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    return averaged(canvas), _absorption(rng, rng.uniform(-0.4, 0.1))


# --- cracks ---------------------------------------------------------------------------------------


def cracks(rng: Rng, columns: int = 1) -> list[Mark]:
    """Return at least one crack through each patch of a row of so many, (227, columns · 227)."""
    size = (PATCH_SIZE, columns * PATCH_SIZE)
    return [
        _crack(rng, size, column)
        for column in range(columns)
        for _ in range(2 if rng.random() < 0.15 else 1)
    ]


def _crack(rng: Rng, size: Size, column: int) -> Mark:
    canvas = blank(size)
    width, depth = _width_and_depth(rng)
    through = rng.uniform(35, PATCH_SIZE - 35, 2) + np.array([column * PATCH_SIZE, 0])
    heading = rng.uniform(0, 2 * np.pi)
    wander = rng.uniform(0.25, 0.6)
    for direction in (heading, heading + np.pi + rng.normal(0, 0.2)):
        path = _walk(rng, through, direction, int(rng.integers(14, 60)), wander)
        _carve(rng, canvas, path, width)
        for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
            fork = path[int(rng.integers(len(path)))]
            turn = direction + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
            twig = _walk(rng, fork, turn, int(rng.integers(8, 30)), wander)
            _carve(rng, canvas, twig, max(1.4, width * rng.uniform(0.3, 0.7)))
    mask = _weathered(rng, averaged(canvas))
    return _with_lit_rim(rng, mask), _absorption(rng, depth)


def _weathered(rng: Rng, mask: Field) -> Field:
    # Crumbled edges, and a wide crack that is darker in its middle than at its banks.
    rows, columns = np.indices(mask.shape, np.float32)
    crumble = np.float32(rng.uniform(0.2, 0.9))
    x, y = (axis + crumble * noise(rng, 70, size=mask.shape) for axis in (columns, rows))
    crumbled = np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR), np.float32)
    deep = np.asarray(cv2.GaussianBlur(crumbled, (7, 7), 1.6), np.float32)
    return crumbled * (np.float32(0.75) + np.float32(0.35) * deep)


def _walk(rng: Rng, start: Points, heading: float, steps: int, wander: float) -> Points:
    # Three motions: a slow drift bends the crack, kinks every few steps and at each make it jagged.
    drift = np.cumsum(rng.normal(0, 0.07, steps))
    kinks = np.repeat(rng.normal(0, wander, steps // 4 + 1), 4)[:steps]
    angle = heading + drift + kinks + rng.normal(0, wander, steps)
    length = rng.uniform(2.5, 7, steps)
    moves = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
    return np.concatenate([start[None], start + np.cumsum(moves, axis=0)])


def _carve(rng: Rng, canvas: Pixels, path: Points, width: float) -> None:
    left, right = _banks(rng, path, width)
    corners = fixed(np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1))
    for index in np.flatnonzero(_unbroken(rng, len(corners))):
        cv2.fillConvexPoly(canvas, corners[index], 255, cv2.LINE_AA, 4)


def _banks(rng: Rng, path: Points, width: float) -> tuple[Points, Points]:
    # The two edges are rough each on its own, and the crack closes slowly towards its tip.
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    taper = np.linspace(1, rng.uniform(0.4, 1), len(path))[:, None]
    rough = rng.normal(1, 0.25, (2, len(path), 1)).clip(0.4, 1.8)
    reach = np.maximum(rough * taper * width / 2, 0.6)  # a hairline stays wide enough to be seen
    return path + normal * reach[0], path - normal * reach[1]


def _unbroken(rng: Rng, segments: int) -> npt.NDArray[np.bool_]:
    kept = np.ones(segments, np.bool_)
    if rng.random() < 0.3:
        gap = int(rng.integers(2, 5))
        first = int(rng.integers(segments))
        kept[first : first + gap] = False
    return kept
