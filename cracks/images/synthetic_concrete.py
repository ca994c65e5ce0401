"""Draw photographs of concrete, cracked and clean, for a machine without the real data set."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

PATCH_SIZE = 227
GENERATOR_VERSION = 1  # part of the data's identity: raise it whenever drawn pixels change
LABELS = ("Negative", "Positive")  # the order is the label: 0 is clean, 1 is cracked

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Rng = np.random.Generator
# A mark on the surface: where it lies (227, 227) and how much red, green and blue it takes there.
# Both may be negative: the lit rim of a hole gives light back, and so does a pale stain.
Mark = tuple[Field, Field]

_FINE = 2  # lines are drawn this many times larger and averaged down, or hairlines turn to steps
_JPEG_QUALITY = 92
_AT_A_TIME = 512  # patches in the hands of the drawing processes


def draw_sample(patches: int, seed: int, processes: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield (name, JPEG bytes) of `patches // 2` clean patches, then of as many cracked ones.

    Names are `Negative/00001.jpg`, `Positive/00001.jpg` and so on. A patch depends on the seed, its
    label and its number alone, so a bigger sample contains the smaller one, and it does not matter
    how many processes draw. Raises ValueError for fewer than two patches or a negative seed, at the
    call and not at the first patch.
    """
    if patches < 2:
        raise ValueError(f"a sample needs a patch of each label: ask for 2 or more, not {patches}")
    if seed < 0:
        raise ValueError(f"the seed of a sample must be 0 or more, not {seed}")
    numbers = range(1, patches // 2 + 1)
    wanted = ((seed, label, number) for label in range(len(LABELS)) for number in numbers)
    return map(_draw_file, wanted) if processes == 1 else _drawn_by(processes, wanted)


def names_of_sample(patches: int) -> list[str]:
    """Return the names that `draw_sample` gives, in its order, without drawing."""
    numbers = range(1, patches // 2 + 1)
    return [_file_name(label, number) for label in range(len(LABELS)) for number in numbers]


def _file_name(label: int, number: int) -> str:
    return f"{LABELS[label]}/{number:05d}.jpg"


def _drawn_by(
    processes: int, wanted: Iterator[tuple[int, int, int]]
) -> Iterator[tuple[str, bytes]]:
    # Spawned, because the caller may have threads, which a fork would copy in mid-step.
    with ProcessPoolExecutor(processes, get_context("spawn"), _leave_ctrl_c_to_parent) as pool:
        while part := list(islice(wanted, _AT_A_TIME)):
            yield from pool.map(_draw_file, part, chunksize=16)


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_file(wanted: tuple[int, int, int]) -> tuple[str, bytes]:
    seed, label, number = wanted
    pixels = draw_patch(np.random.default_rng([seed, label, number]), label == 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return _file_name(label, number), stream.getvalue()


def draw_patch(rng: Rng, cracked: bool) -> Pixels:
    """Return one drawn patch, (227, 227, 3) uint8 RGB, with at least one crack if `cracked`."""
    marks = _bystanders(rng)
    # A clean patch gets another dark mark in the crack's place. Otherwise the labels would differ
    # in how much is dark, and a model could pass without ever looking at a shape.
    marks += _cracks(rng) if cracked else [_stand_in(rng)]
    shade = _concrete(rng) * _light(rng)
    # One plane a colour, (3, 227, 227): five times as fast as colour last.
    surface = _paint(np.stack([shade, shade, shade]), marks)
    return _photographed(rng, _balanced(rng, surface) * _base_colour(rng))


def draw_crack_on(pixels: Pixels, rng: Rng) -> Pixels:
    """Return the patch with a crack drawn on it, of the kind that the sample has.

    The crack takes a share of the light, so the grain of the surface stays visible in it; what lies
    beside it and its lit rim stays as it is.

    Args:
        pixels: uint8 RGB (height, width, 3), of any size; it is left unchanged.
        rng: decides on the shape, the place, the width and the depth.

    Returns:
        uint8 RGB (height, width, 3), darker along the crack.
    """
    height, width = pixels.shape[:2]
    marks = [(_seen(mask, (width, height)), taken) for mask, taken in _cracks(rng)]
    surface = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    painted = _paint(surface, marks).transpose(1, 2, 0)
    return np.asarray(painted.round().clip(0, 255), np.uint8)


# --- the surface, the light and the camera ---------------------------------------------------


def _concrete(rng: Rng) -> Field:
    scales = ((3, 0.05), (9, 0.03), (28, 0.03), (75, 0.035), (PATCH_SIZE, 0.03))
    shade = np.ones((PATCH_SIZE, PATCH_SIZE), np.float32)
    for cells, strength in scales:
        shade += np.float32(strength * rng.uniform(0.15, 1)) * noise(rng, cells)
    roughness = np.float32(rng.uniform(0, 0.06))
    shade += roughness * relief(rng, noise(rng, int(rng.integers(40, 110))), 1.5)
    if rng.random() < 0.25:
        shade += np.float32(rng.uniform(0.01, 0.05)) * _board_grain(rng)
    return shade


def noise(rng: Rng, cells: int, rows: int | None = None) -> Field:
    """Return smooth noise of so many cells across and down, float32 (227, 227)."""
    grid = rng.standard_normal((rows or cells, cells), np.float32)
    size = (PATCH_SIZE, PATCH_SIZE)
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC), np.float32)


def relief(rng: Rng, height: Field, reach: float) -> Field:
    """Return what light from one side makes of a surface: bright slopes towards it, dark behind."""
    angle = rng.uniform(0, 2 * np.pi)
    return height - _shifted(height, reach * np.cos(angle), reach * np.sin(angle))


def _shifted(field: Field, right: float, down: float) -> Field:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = (PATCH_SIZE, PATCH_SIZE)
    moved = cv2.warpAffine(field, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _board_grain(rng: Rng) -> Field:
    grain = noise(rng, 4, rows=int(rng.integers(30, 120)))
    centre = (PATCH_SIZE / 2, PATCH_SIZE / 2)
    turn = cv2.getRotationMatrix2D(centre, rng.uniform(0, 180), 1.5)
    return np.asarray(cv2.warpAffine(grain, turn, (PATCH_SIZE, PATCH_SIZE)), np.float32)


def _light(rng: Rng) -> Field:
    slope = _across(rng.uniform(0, 2 * np.pi), 0) / PATCH_SIZE
    return (1 + rng.uniform(0, 0.25) * slope).astype(np.float32)


def _across(angle: float, offset: float) -> Field:
    # Signed distance in pixels of each pixel from a straight line `offset` from the centre.
    steps = np.arange(PATCH_SIZE, dtype=np.float32) - np.float32(PATCH_SIZE / 2)
    rows = (steps * np.sin(angle))[:, None]
    return np.asarray(steps * np.cos(angle) + rows - offset, np.float32)


def _paint(surface: Field, marks: list[Mark]) -> Field:
    for mask, absorption in marks:
        for plane, taken in zip(surface, absorption, strict=True):
            plane -= plane * (mask * taken)
    return surface


def _seen(mask: Field, size: tuple[int, int]) -> Field:
    # Softened as by the camera: the patch below it has been photographed already.
    fitted = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(fitted, (5, 5), 0.6), np.float32)


def _balanced(rng: Rng, surface: Field) -> Field:
    # Mean and contrast are drawn again, independent of the marks, so they do not reveal a label.
    # The green plane speaks for all three: its spread is theirs, at a third of the time.
    contrast = rng.uniform(0.09, 0.17) / max(float(surface[1].std()), 1e-3)
    return np.asarray(1 + (surface - surface.mean()) * np.float32(contrast), np.float32)


def _base_colour(rng: Rng) -> Field:
    warmth, green = rng.normal(0.04, 0.05), rng.normal(0, 0.012)
    tint = np.array([1 + warmth / 2, 1 + green, 1 - warmth], np.float32)
    return (rng.uniform(105, 205) * tint).astype(np.float32)[:, None, None]


def _photographed(rng: Rng, scene: Field) -> Pixels:
    blur, strength = rng.uniform(0.3, 0.9), np.float32(rng.uniform(1, 5))
    grain = strength * rng.standard_normal((PATCH_SIZE, PATCH_SIZE), np.float32)
    planes = [cv2.GaussianBlur(plane, (5, 5), blur) + grain for plane in scene]
    # convertScaleAbs rounds and stops at 255, where a numpy cast would wrap around to black.
    return np.asarray(cv2.convertScaleAbs(np.maximum(cv2.merge(planes), 0)), np.uint8)


# --- marks that are no cracks, on clean and cracked patches alike ---------------------------------


def _bystanders(rng: Rng) -> list[Mark]:
    chances: tuple[tuple[Callable[[Rng], Mark], float], ...] = (
        (_stain, 0.4),
        (_water_mark, 0.25),
        (_pebbles, 0.35),
        (_pores, 0.7),
        (_scratches, 0.3),
        (_shadow, 0.25),
        (_joint, 0.15),
        (_stand_in, 0.25),  # so that no kind of mark is found on clean patches only
    )
    return [draw(rng) for draw, chance in chances if rng.random() < chance]


def _stand_in(rng: Rng) -> Mark:
    draws = (_joint, _joint, _joint, _holes, _holes, _pits, _shadow_band, _dark_patch, _dark_patch)
    return draws[int(rng.integers(len(draws)))](rng)


def _absorption(rng: Rng, depth: float) -> Field:
    warmth = rng.normal(0, 0.05)
    return np.array([depth * (1 - warmth), depth, depth * (1 + warmth)], np.float32)


def _ramp(distance: npt.NDArray[np.floating], softness: float) -> Field:
    return np.asarray(np.clip(distance / np.float32(softness) + 0.5, 0, 1), np.float32)


def _stain(rng: Rng) -> Mark:
    blob = _ragged(rng, int(rng.integers(3, 8))) - np.float32(rng.uniform(0.2, 1.0))
    rust = np.array([0.6, 1.0, 1.4] if rng.random() < 0.3 else [1, 1, 1], np.float32)
    return _ramp(blob, rng.uniform(0.1, 1.0)), _absorption(rng, rng.uniform(-0.22, 0.3)) * rust


def _dark_patch(rng: Rng) -> Mark:
    blob = _ragged(rng, int(rng.integers(4, 12))) - np.float32(rng.uniform(1.1, 1.6))
    return _ramp(blob, rng.uniform(0.15, 0.5)), _absorption(rng, rng.uniform(0.5, 0.9))


def _ragged(rng: Rng, cells: int) -> Field:
    fine = np.float32(0.22) * noise(rng, cells * 6) + np.float32(0.12) * noise(rng, 90)
    return noise(rng, cells) + fine


def _water_mark(rng: Rng) -> Mark:
    level = noise(rng, int(rng.integers(3, 6))) - np.float32(rng.uniform(-0.5, 0.5))
    ring = np.exp(-np.square(level / np.float32(rng.uniform(0.1, 0.3))))
    return ring, _absorption(rng, rng.uniform(-0.15, 0.18))


def _shadow(rng: Rng) -> Mark:
    side = _across(rng.uniform(0, 2 * np.pi), rng.uniform(-80, 80))
    side += np.float32(rng.uniform(0, 8)) * noise(rng, 4)
    return _ramp(side, float(np.exp(rng.uniform(0, 3.7)))), _absorption(rng, rng.uniform(0.1, 0.45))


def _shadow_band(rng: Rng) -> Mark:
    distance = np.abs(_across(rng.uniform(0, 2 * np.pi), rng.uniform(-80, 80)))
    half_width, softness = rng.uniform(3, 16), rng.uniform(2, 10)
    return _ramp(half_width - distance, softness), _absorption(rng, rng.uniform(0.3, 0.7))


def _joint(rng: Rng) -> Mark:
    side = _across(rng.uniform(0, 2 * np.pi), rng.uniform(-85, 85))
    side += np.float32(rng.uniform(0.1, 0.5)) * noise(rng, 60)  # chipped, but straight
    width, depth = _width_and_depth(rng)
    line = _ramp(width / 2 - np.abs(side), 1.0)
    if rng.random() < 0.25:
        line = np.maximum(line, _ramp(width / 2 - np.abs(side - rng.uniform(15, 70)), 1.0))
    if rng.random() < 0.4:  # a cold joint: the two pours have different tones
        line = line + np.float32(rng.uniform(0, 0.25)) * _ramp(side, 1.0)
    return _with_lit_rim(rng, line), _absorption(rng, depth)


def _width_and_depth(rng: Rng) -> tuple[float, float]:
    # Cracks and joints draw from the same widths and depths: only their shape tells them apart.
    # The narrower a line, the less of it survives a resize, so hairlines are not also faint.
    width = float(np.exp(rng.uniform(np.log(1.6), np.log(11))))
    return width, rng.uniform(0.6 if width < 3 else 0.45, 0.9)


def _with_lit_rim(rng: Rng, mask: Field) -> Field:
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2.5)
    rim = _shifted(mask, reach * np.cos(angle), reach * np.sin(angle)) - mask
    return np.asarray(mask - np.float32(rng.uniform(0, 0.35)) * np.clip(rim, 0, 1), np.float32)


def _dots(
    rng: Rng, count: tuple[int, int], radius: tuple[float, float], depth: tuple[float, float]
) -> Mark:
    mask = _ellipses(rng, int(rng.integers(*count)), *radius)
    return _with_lit_rim(rng, mask), _absorption(rng, rng.uniform(*depth))


_pores = partial(_dots, count=(3, 45), radius=(0.6, 2.6), depth=(0.2, 0.7))
_holes = partial(_dots, count=(2, 14), radius=(3.0, 11.0), depth=(0.5, 0.95))
_pits = partial(_dots, count=(40, 110), radius=(0.8, 4.0), depth=(0.55, 0.95))
_pebbles = partial(_dots, count=(5, 70), radius=(1.5, 8.0), depth=(-0.3, 0.3))


def _ellipses(rng: Rng, count: int, smallest: float, largest: float) -> Field:
    canvas = _blank()
    long = smallest * (largest / smallest) ** rng.uniform(0, 1, count)
    outlines = _fixed(_outlines(rng, long, long * rng.uniform(0.5, 1, count)))
    for outline, grey in zip(outlines, rng.uniform(120, 255, count), strict=True):
        cv2.fillConvexPoly(canvas, outline, grey, cv2.LINE_AA, 4)
    return _averaged(canvas)


def _outlines(rng: Rng, long: Points, short: Points) -> Points:
    # Dented ellipses of ten corners each, (count, 10, 2), anywhere on the patch and turned anyhow.
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radius = 1 + rng.normal(0, 0.12, (len(long), 10))
    turn = rng.uniform(0, np.pi, (len(long), 1))
    ahead, aside = long[:, None] * radius * np.cos(around), short[:, None] * radius * np.sin(around)
    x = ahead * np.cos(turn) - aside * np.sin(turn)
    y = ahead * np.sin(turn) + aside * np.cos(turn)
    return np.stack([x, y], axis=2) + rng.uniform(0, PATCH_SIZE, (len(long), 1, 2))


def _scratches(rng: Rng) -> Mark:
    canvas = _blank()
    for _ in range(int(rng.integers(1, 5))):
        start, end = rng.uniform(0, PATCH_SIZE, 2), rng.uniform(0, PATCH_SIZE, 2)
        along = np.linspace(0, 1, 24)[:, None]
        bow = rng.normal(0, 6, 2) * 4 * along * (1 - along)
        path = start + (end - start) * along + bow
        cv2.polylines(canvas, [_fixed(path)], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    return _averaged(canvas), _absorption(rng, rng.uniform(-0.4, 0.1))


def _blank() -> Pixels:
    return np.zeros((PATCH_SIZE * _FINE, PATCH_SIZE * _FINE), np.uint8)


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    # cv2 wants corners as integers: here in sixteenths of a pixel of the enlarged canvas.
    return np.round(points * _FINE * 16).astype(np.int32)


def _averaged(canvas: Pixels) -> Field:
    small = cv2.resize(canvas, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


# --- cracks ---------------------------------------------------------------------------------------


def _cracks(rng: Rng) -> list[Mark]:
    return [_crack(rng) for _ in range(2 if rng.random() < 0.15 else 1)]


def _crack(rng: Rng) -> Mark:
    canvas = _blank()
    width, depth = _width_and_depth(rng)
    through, heading = rng.uniform(35, PATCH_SIZE - 35, 2), rng.uniform(0, 2 * np.pi)
    wander = rng.uniform(0.25, 0.6)
    for direction in (heading, heading + np.pi + rng.normal(0, 0.2)):
        path = _walk(rng, through, direction, int(rng.integers(14, 60)), wander)
        _carve(rng, canvas, path, width)
        for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
            fork = path[int(rng.integers(len(path)))]
            turn = direction + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
            twig = _walk(rng, fork, turn, int(rng.integers(8, 30)), wander)
            _carve(rng, canvas, twig, max(1.4, width * rng.uniform(0.3, 0.7)))
    mask = _weathered(rng, _averaged(canvas))
    return _with_lit_rim(rng, mask), _absorption(rng, depth)


def _weathered(rng: Rng, mask: Field) -> Field:
    # Crumbled edges, and a wide crack that is darker in its middle than at its banks.
    rows, columns = np.indices((PATCH_SIZE, PATCH_SIZE), np.float32)
    crumble = np.float32(rng.uniform(0.2, 0.9))
    x, y = columns + crumble * noise(rng, 70), rows + crumble * noise(rng, 70)
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
    corners = _fixed(np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1))
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
