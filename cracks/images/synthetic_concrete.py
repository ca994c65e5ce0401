"""Draw photographs of concrete and cut them into patches, for a machine without the real data."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context

import cv2
import numpy as np
from PIL import Image

from cracks.images.synthetic_canvas import (
    PATCH_SIZE,
    Field,
    Pixels,
    Rng,
    Size,
    across,
    noise,
    relief,
)
from cracks.images.synthetic_marks import bystanders, cracks, paint, stand_in

GENERATOR_VERSION = 2  # part of the data's identity: raise it whenever drawn pixels change
LABELS = ("Negative", "Positive")  # the order is the label: 0 is clean, 1 is cracked

#: Patches of a photograph: one row is clean, and each patch of the other has a crack.
ROWS, COLUMNS = len(LABELS), 3

#: Sites of a sample. They take turns, so that a small sample has some of each.
SITES = 6

#: Begins the stream of chance of each thing that is drawn, after the seed.
_GREYS, _SITE, _PHOTOGRAPH = range(3)

_JPEG_QUALITY = 92
_AT_A_TIME = 128  # photographs in the hands of the drawing processes


@dataclass(frozen=True)
class Look:
    """What the photographs of one site have in common: its concrete, and the camera."""

    grey: float  # mean, 0 to 255
    warmth: float  # how much redder than blue, as a part of the grey
    green: float
    roughness: float
    boards: bool  # whether the boards of the formwork left their grain
    blur: float  # of the lens, in pixels
    grain: float  # of the sensor, in grey values


@dataclass(frozen=True)
class Origin:
    """Where a drawn patch comes from."""

    name: str  # of its file, such as `Negative/00001.jpg`
    photo: str
    site: str
    taken: datetime


# --- the sample -----------------------------------------------------------------------------------


def draw_sample(patches: int, seed: int, processes: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield (name, JPEG bytes) of `patches // 2` clean patches and as many cracked ones.

    They come photograph by photograph, of each first the clean ones. Names are
    `Negative/00001.jpg`, `Positive/00001.jpg` and so on. A photograph depends on the seed and its
    number alone, so a bigger sample contains the smaller one, and it does not matter how many
    processes draw. Raises ValueError for fewer than two patches or a negative seed, at the call
    and not at the first patch.
    """
    if patches < 2:
        raise ValueError(f"a sample needs a patch of each label: ask for 2 or more, not {patches}")
    if seed < 0:
        raise ValueError(f"the seed of a sample must be 0 or more, not {seed}")
    draw, numbers = partial(_draw_files, seed, patches // 2), _photographs_of(patches)
    files = map(draw, numbers) if processes == 1 else _drawn_by(processes, draw, numbers)
    return chain.from_iterable(files)


def origins_of_sample(patches: int) -> list[Origin]:
    """Return where the patches of `draw_sample` come from, in its order, without drawing."""
    return [
        origin
        for number in _photographs_of(patches)
        for row in _origins(number, patches // 2)
        for origin in row
    ]


def _photographs_of(patches: int) -> range:
    """Return the numbers of the photographs of a sample; of the last one a part may be enough."""
    return range(-(-(patches // 2) // COLUMNS))


def _origins(number: int, each: int) -> list[list[Origin]]:
    """Return where the patches of a photograph come from, up to `each` of a label, by label."""
    first = number * COLUMNS
    visited, site = divmod(number, SITES)
    # Every week each site on another day, with ten photographs each time.
    week, shot = divmod(visited, 10)
    taken = datetime(2026, 1, 5, 9) + timedelta(weeks=week, days=site, minutes=10 * shot)
    photo = (f"drawn photo {number + 1}", f"drawn site {site + 1}", taken)
    places = range(first, min(first + COLUMNS, each))
    return [
        [Origin(f"{label}/{place + 1:05d}.jpg", *photo) for place in places] for label in LABELS
    ]


def _drawn_by(
    processes: int, draw: partial[list[tuple[str, bytes]]], numbers: Sequence[int]
) -> Iterator[list[tuple[str, bytes]]]:
    wanted = iter(numbers)
    # Spawned, because the caller may have threads, which a fork would copy in mid-step.
    with ProcessPoolExecutor(processes, get_context("spawn"), _leave_ctrl_c_to_parent) as pool:
        while part := list(islice(wanted, _AT_A_TIME)):
            yield from pool.map(draw, part, chunksize=4)


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_files(seed: int, each: int, number: int) -> list[tuple[str, bytes]]:
    rng = np.random.default_rng([seed, _PHOTOGRAPH, number])
    cracked = int(rng.integers(ROWS))
    pixels = draw_photograph(rng, _look_of(seed, number % SITES), cracked)
    rows = (1 - cracked, cracked)
    return [
        (origin.name, _encoded(_patch(pixels, row, column)))
        for row, origins in zip(rows, _origins(number, each), strict=True)
        for column, origin in enumerate(origins)
    ]


def _patch(pixels: Pixels, row: int, column: int) -> Pixels:
    return pixels[_part(row), _part(column)]


def _part(number: int) -> slice:
    """Return the pixels of one row or column of patches."""
    return slice(number * PATCH_SIZE, (number + 1) * PATCH_SIZE)


def _encoded(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


# --- a photograph ---------------------------------------------------------------------------------


def draw_photograph(rng: Rng, look: Look, cracked: int) -> Pixels:
    """Return a photograph, uint8 RGB (ROWS · 227, COLUMNS · 227, 3).

    Args:
        rng: decides everything that is left open; equal states give equal pixels.
        look: of the site.
        cracked: the row, 0 or 1, of whose patches each has at least one crack; the other has none.
    """
    size = (ROWS * PATCH_SIZE, COLUMNS * PATCH_SIZE)
    shade = _concrete(rng, look, size) * _light(rng, size)
    # One plane a colour, (3, height, width): five times as fast as colour last.
    surface = paint(np.stack([shade, shade, shade]), bystanders(rng, size) + bystanders(rng, size))
    # A clean row gets other dark marks in the cracks' place. Otherwise the labels would differ
    # in how much is dark, and a model could pass without ever looking at a shape. They reach
    # further than cracks: as many would be darker.
    row_size = (PATCH_SIZE, size[1])
    marks = [[stand_in(rng, row_size) for _ in range(COLUMNS - 1)], cracks(rng, COLUMNS)]
    for row, drawn in zip((1 - cracked, cracked), marks, strict=True):
        paint(surface[:, _part(row)], drawn)
    return _photographed(rng, look, _balanced(rng, surface) * _colour(rng, look))


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
    marks = [(_seen(mask, (width, height)), taken) for mask, taken in cracks(rng)]
    surface = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    painted = paint(surface, marks).transpose(1, 2, 0)
    return np.asarray(painted.round().clip(0, 255), np.uint8)


def _seen(mask: Field, size: tuple[int, int]) -> Field:
    # Softened as by the camera: the patch below it has been photographed already.
    fitted = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(fitted, (5, 5), 0.6), np.float32)


# --- the surface, the light and the camera --------------------------------------------------------


def _look_of(seed: int, site: int) -> Look:
    rng = np.random.default_rng([seed, _SITE, site])
    # Each has its part of the greys, or few sites would not be like few others.
    part = np.random.default_rng([seed, _GREYS]).permutation(SITES)[site]
    return Look(
        grey=100 + 80 * (part + rng.uniform()) / SITES,
        warmth=rng.normal(0.04, 0.05),
        green=rng.normal(0, 0.012),
        roughness=rng.uniform(0, 0.06),
        boards=bool(rng.random() < 0.25),
        blur=rng.uniform(0.3, 0.9),
        grain=rng.uniform(1, 5),
    )


def _concrete(rng: Rng, look: Look, size: Size) -> Field:
    scales = ((3, 0.05), (9, 0.03), (28, 0.03), (75, 0.035), (PATCH_SIZE, 0.03))
    shade = np.ones(size, np.float32)
    for cells, strength in scales:
        shade += np.float32(strength * rng.uniform(0.15, 1)) * noise(rng, cells, size=size)
    grains = noise(rng, int(rng.integers(40, 110)), size=size)
    shade += np.float32(look.roughness) * relief(rng, grains, 1.5)
    if look.boards:
        shade += np.float32(rng.uniform(0.01, 0.05)) * _board_grain(rng, size)
    return shade


def _board_grain(rng: Rng, size: Size) -> Field:
    grain = noise(rng, 4, rows=int(rng.integers(30, 120)), size=size)
    height, width = size
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 180), 1.8)
    turned = cv2.warpAffine(grain, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, np.float32)


def _light(rng: Rng, size: Size) -> Field:
    slope = across(rng.uniform(0, 2 * np.pi), 0, size) / max(size)
    return (1 + rng.uniform(0, 0.25) * slope).astype(np.float32)


def _balanced(rng: Rng, surface: Field) -> Field:
    # Mean and contrast are drawn again, independent of the marks.
    # The green plane speaks for all three: its spread is theirs, at a third of the time.
    contrast = rng.uniform(0.09, 0.17) / max(float(surface[1].std()), 1e-3)
    return np.asarray(1 + (surface - surface.mean()) * np.float32(contrast), np.float32)


def _colour(rng: Rng, look: Look) -> Field:
    tint = np.array([1 + look.warmth / 2, 1 + look.green, 1 - look.warmth], np.float32)
    return (tint * rng.normal(look.grey, 6)).astype(np.float32)[:, None, None]


def _photographed(rng: Rng, look: Look, scene: Field) -> Pixels:
    grain = np.float32(look.grain) * rng.standard_normal(scene.shape[1:], np.float32)
    planes = [cv2.GaussianBlur(plane, (5, 5), look.blur) + grain for plane in scene]
    # convertScaleAbs rounds and stops at 255, where a numpy cast would wrap around to black.
    return np.asarray(cv2.convertScaleAbs(np.maximum(cv2.merge(planes), 0)), np.uint8)
