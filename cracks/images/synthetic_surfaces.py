"""Draw photographs of other materials, to see whether they are told apart from concrete."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cracks.images.synthetic_canvas import (
    PATCH_SIZE,
    Field,
    Pixels,
    Points,
    Rng,
    noise,
    relief,
)

#: A colour picture in the making: float32 (227, 227, 3), red, green and blue in 0 to 255.
Scene = npt.NDArray[np.float32]

MATERIALS: Final = ("brick", "asphalt", "timber", "foliage", "sky", "text")

_SIZE: Final = (PATCH_SIZE, PATCH_SIZE)
_REACH: Final = 1.2  # of the light from aside, in pixels


def draw_surface(material: str, rng: Rng) -> Pixels:
    """Return one drawn picture of a material, (227, 227, 3) uint8 RGB.

    Args:
        material: one of `MATERIALS`.
        rng: decides everything that is left open; equal states give equal pixels.

    Raises:
        ValueError: no such material.
    """
    if material not in MATERIALS:
        raise ValueError(f"no material {material!r}: draw one of {', '.join(MATERIALS)}")
    return _photographed(rng, _DRAWN[material](rng))


# --- what all have in common ----------------------------------------------------------------------


def _clouded(rng: Rng, cells: float, octaves: int, roughness: float = 0.5) -> Field:
    """Return noise of several scales, each half as coarse as the last, of deviation 1."""
    field = np.zeros(_SIZE, np.float32)
    for octave in range(octaves):
        fine = min(max(int(cells * 2**octave), 2), PATCH_SIZE)
        field += np.float32(roughness**octave) * noise(rng, fine)
    return np.asarray((field - field.mean()) / (field.std() + np.float32(1e-6)), np.float32)


def _turned(angle: float) -> tuple[Field, Field]:
    """Return how far each pixel lies along and across a direction, in pixels from the centre."""
    rows, columns = np.indices(_SIZE, np.float32) - np.float32(PATCH_SIZE / 2)
    ahead, aside = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return columns * ahead + rows * aside, rows * ahead - columns * aside


def _plain(colour: npt.ArrayLike) -> Scene:
    return np.ones((*_SIZE, 1), np.float32) * np.asarray(colour, np.float32)


def _mixed(below: Scene, above: Scene, mask: Field) -> Scene:
    weight = np.clip(mask, 0, 1).astype(np.float32)[..., None]
    return np.asarray(below + (above - below) * weight, np.float32)


def _shaded(scene: Scene, shade: Field) -> Scene:
    return np.asarray(scene * np.maximum(1 + shade, 0)[..., None], np.float32)


def _between(rng: Rng, low: npt.ArrayLike, high: npt.ArrayLike) -> Scene:
    """Return a colour on the line from one colour to another, with a little of its own."""
    start, end = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return np.asarray(start + (end - start) * rng.uniform() + rng.normal(0, 5, 3), np.float32)


def _photographed(rng: Rng, scene: Scene) -> Pixels:
    """Put light, exposure, white balance, lens and sensor over a scene."""
    along, _ = _turned(rng.uniform(0, 2 * np.pi))
    lit = _shaded(scene, along * np.float32(rng.uniform(0, 0.3) / PATCH_SIZE))
    warmth = rng.normal(0, 0.03)
    lit *= np.array([1 + warmth, 1, 1 - warmth], np.float32) * np.float32(rng.uniform(0.75, 1.2))
    blurred = np.asarray(cv2.GaussianBlur(lit, (5, 5), rng.uniform(0.3, 1.0)), np.float32)
    grain = np.float32(rng.uniform(1, 5)) * rng.standard_normal((*_SIZE, 1), np.float32)
    return np.clip(np.rint(blurred + grain), 0, 255).astype(np.uint8)


# --- the materials --------------------------------------------------------------------------------


def _brick(rng: Rng) -> Scene:
    length = rng.uniform(40, 170)
    height, joint = length / rng.uniform(2.6, 4.2), max(2.0, length * rng.uniform(0.03, 0.08))
    along, across = _turned(rng.normal(0, 0.08) + rng.choice([0, 0, 0, np.pi / 2]))
    along = along + np.float32(joint / 14) * _clouded(rng, 30, 2) + np.float32(rng.uniform(0, 200))
    across = (
        across + np.float32(joint / 14) * _clouded(rng, 30, 2) + np.float32(rng.uniform(0, 200))
    )
    course = np.floor(across / height).astype(np.int64)
    along = along + np.float32(length * rng.choice([1 / 2, 1 / 3])) * (course % 6)
    column = np.floor(along / length).astype(np.int64)
    # The distance from each pixel to the edge of its brick.
    inside = np.minimum(_to_edge(along, length), _to_edge(across, height))
    face = np.clip((inside - joint / 2) / 1.5 + 0.5, 0, 1).astype(np.float32)
    bricks = _brick_faces(rng, course % 64, column % 64)
    mortar = _plain(_between(rng, (110, 105, 98), (205, 198, 185)))
    mortar = _shaded(mortar, np.float32(0.08) * _clouded(rng, 60, 2))
    depth = np.float32(rng.uniform(0.1, 0.4)) * relief(rng, face, _REACH)
    return _shaded(_mixed(mortar, bricks, face), depth)


def _to_edge(position: Field, step: float) -> Field:
    return np.asarray(step / 2 - np.abs(position % step - step / 2), np.float32)


def _brick_faces(
    rng: Rng, course: npt.NDArray[np.int64], column: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    pairs = (((115, 62, 48), (175, 100, 80)), ((145, 112, 80), (205, 172, 132)))
    red, ochre = (_between(rng, *pair) for pair in pairs)
    own = rng.normal(0, rng.uniform(0.04, 0.14), (64, 64)).astype(np.float32)[course, column]
    texture = np.float32(rng.uniform(0.03, 0.1)) * _clouded(rng, 25, 3, 0.8)
    return _shaded(_plain(red if rng.random() < 0.75 else ochre), own + texture)


def _asphalt(rng: Rng) -> Scene:
    binder = rng.uniform(40, 95)
    scene = _plain(binder * (1 + rng.normal(0, 0.02, 3)))
    size = float(np.exp(rng.uniform(np.log(3), np.log(11))))
    for share, shrink in ((1.0, 0.45), (0.9, 0.7), (0.6, 1.0)):
        scene = _with_stones(rng, scene, size * shrink, share, binder)
    scene = _shaded(scene, np.float32(rng.uniform(0.02, 0.08)) * _clouded(rng, 3, 3))
    if rng.random() < 0.2:  # the worn paint of a road marking
        along, _ = _turned(rng.uniform(0, np.pi))
        worn = np.float32(0.6) * _clouded(rng, 50, 2) + np.float32(1.2)
        mask = np.clip((along - rng.uniform(0, 80)) / 2, 0, 1) * np.clip(worn, 0, 1)
        paint = _between(rng, (200, 200, 195), (225, 190, 90))
        scene = _mixed(scene, _plain(paint), np.float32(0.8) * mask)
    return scene


def _with_stones(rng: Rng, scene: Scene, size: float, share: float, binder: float) -> Scene:
    """Return the scene with broken stones about `size` pixels wide laid over it."""
    count = max(12, int(share * 0.7 * (PATCH_SIZE / size) ** 2))
    seeds = np.full(_SIZE, 255, np.uint8)
    seeds[tuple(rng.integers(0, PATCH_SIZE, (2, count)))] = 0
    distance, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    width = rng.uniform(0.25, 0.5, count + 1).astype(np.float32)[nearest] * np.float32(size)
    edge = width * (1 + np.float32(0.25) * _clouded(rng, PATCH_SIZE / size, 2))
    grey = binder * np.exp(rng.normal(0.35, 0.3, (count + 1, 1)))
    tones = (grey * (1 + rng.normal(0, 0.03, (count + 1, 3)))).astype(np.float32)
    mask = np.clip(edge - np.asarray(distance, np.float32) + 0.5, 0, 1)
    depth = np.float32(0.15) * relief(rng, mask, _REACH)
    return _shaded(_mixed(scene, tones[nearest], mask), depth)


def _timber(rng: Rng) -> Scene:
    along, across = _turned(rng.uniform(0, np.pi))
    width = rng.uniform(45, 260)
    across = across + np.float32(rng.uniform(0, width))
    board = np.floor(across / width).astype(np.int64) % 16
    # Every board is cut from another place of the trunk.
    place = rng.uniform(-400, 400, (2, 16)).astype(np.float32)
    height = (along + place[0][board]) / np.float32(rng.uniform(6, 14))
    radius = across + place[1][board] + np.float32(rng.uniform(4, 14)) * _clouded(rng, 2, 2)
    rings = np.sin(np.hypot(radius, height) * np.float32(rng.uniform(0.25, 0.9)))
    fibres = _fibres(rng, across, along)
    fresh, weathered = ((95, 65, 40), (225, 190, 145)), ((120, 112, 104), (165, 158, 150))
    colour = _plain(_between(rng, *(fresh if rng.random() < 0.8 else weathered)))
    own = rng.normal(0, 0.08, 16).astype(np.float32)[board]
    contrast = np.float32(rng.uniform(0.05, 0.16))
    scene = _shaded(colour, own + contrast * rings + np.float32(0.07) * fibres)
    gap = np.clip(rng.uniform(0.8, 2.5) - _to_edge(across, width), 0, 1)
    return _mixed(scene, _plain((30, 24, 20)), np.asarray(0.85 * gap, np.float32))


def _fibres(rng: Rng, across: Field, along: Field) -> Field:
    """Return noise that is thirty times as long as it is wide."""
    grain = rng.standard_normal((512, 64), np.float32)
    rows = np.asarray((across * 1.2) % 511, np.float32)
    columns = np.asarray((along / 25 + 30) % 63, np.float32)
    drawn = cv2.remap(grain, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(drawn, np.float32)


def _foliage(rng: Rng) -> Scene:
    size = float(np.exp(rng.uniform(np.log(7), np.log(45))))
    slim = rng.uniform(0.1, 0.55)
    scene = _shaded(_plain((28, 38, 18)), np.float32(0.4) * _clouded(rng, 8, 3))
    count = min(int(5 * PATCH_SIZE**2 / (size**2 * slim)), 2500)
    fresh = _between(rng, (55, 90, 25), (130, 160, 60))
    for number in range(count):
        # What lies deeper is darker, and the leaf turned to the light is pale.
        light = (0.35 + 0.65 * number / count) * rng.uniform(0.6, 1.35)
        colour = fresh * light + rng.normal(0, 6, 3)
        _leaf(rng, scene, size * rng.uniform(0.6, 1.3), slim, colour)
    return _shaded(scene, np.float32(0.06) * _clouded(rng, 60, 2))


def _leaf(rng: Rng, scene: Scene, size: float, slim: float, colour: Points) -> None:
    half = np.linspace(0, np.pi, 9)
    ahead = np.concatenate([np.cos(half), np.cos(half[::-1])]) * size / 2
    aside = np.concatenate([np.sin(half), -np.sin(half)]) ** 3 * size * slim / 2
    turn, middle = rng.uniform(0, 2 * np.pi), rng.uniform(0, PATCH_SIZE, 2)
    cosine, sine = np.cos(turn), np.sin(turn)
    x, y = ahead * cosine - aside * sine, ahead * sine + aside * cosine
    outline = np.round((np.stack([x, y], axis=1) + middle) * 16).astype(np.int32)
    cv2.fillPoly(scene, [outline], colour.tolist(), cv2.LINE_AA, 4)
    if size > 14:  # the rib in the middle
        ends = outline[[0, 8]]
        cv2.polylines(scene, [ends], False, (colour * 1.25).tolist(), 1, cv2.LINE_AA, 4)


def _sky(rng: Rng) -> Scene:
    _, down = _turned(rng.normal(0, 0.15))
    height = np.clip(down / PATCH_SIZE + 0.5 + rng.normal(0, 0.2), 0, 1)
    top = _between(rng, (45, 95, 165), (110, 160, 215))
    bottom = _between(rng, (150, 185, 220), (225, 215, 205))
    scene = _mixed(_plain(top), _plain(bottom), np.asarray(height, np.float32))
    clouds = _clouded(rng, rng.uniform(2, 5), 6, rng.uniform(0.45, 0.6))
    cover = (clouds - np.float32(rng.uniform(-0.8, 1.2))) * np.float32(rng.uniform(0.4, 1.5))
    shade = np.float32(rng.uniform(0, 0.1)) * relief(rng, _clouded(rng, 6, 4), _REACH)
    white = _shaded(_plain(_between(rng, (205, 208, 215), (250, 250, 250))), shade)
    return _mixed(scene, white, np.asarray(cover, np.float32))


def _text(rng: Rng) -> Scene:
    paper, ink = (250, 248, 240), (25, 25, 35)
    if rng.random() < 0.35:  # a sign, or a screen
        paper, ink = _SIGNS[int(rng.integers(len(_SIGNS)))]
    page, letter = _plain(_between(rng, paper, paper)), _between(rng, ink, ink)
    scale = float(np.exp(rng.uniform(np.log(0.35), np.log(2.2))))
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX]))
    canvas = np.zeros((2 * PATCH_SIZE, 2 * PATCH_SIZE), np.uint8)
    for bottom in range(10, 2 * PATCH_SIZE, max(12, int(scale * rng.uniform(32, 48)))):
        origin = (int(rng.integers(-40, 10)), bottom)
        width = max(1, round(scale * 1.6))
        cv2.putText(canvas, _words(rng), origin, font, scale, 255, width, cv2.LINE_AA)
    centre = (float(PATCH_SIZE), float(PATCH_SIZE))
    turn = cv2.getRotationMatrix2D(centre, rng.normal(0, 8), rng.uniform(0.8, 1.2))
    turn[:, 2] -= PATCH_SIZE / 2
    mask = np.asarray(cv2.warpAffine(canvas, turn, _SIZE), np.float32) / np.float32(255)
    fibre = np.float32(0.015) * _clouded(rng, 70, 2)
    return _shaded(_mixed(page, _plain(letter), np.asarray(mask, np.float32)), fibre)


_SIGNS: Final = (
    ((30, 60, 140), (240, 240, 240)),
    ((205, 170, 40), (20, 20, 20)),
    ((25, 110, 60), (240, 240, 235)),
    ((35, 35, 40), (200, 210, 200)),
    ((170, 30, 30), (245, 240, 235)),
)


def _words(rng: Rng) -> str:
    letters = list(string.ascii_lowercase * 4 + string.ascii_uppercase + string.digits)
    return " ".join("".join(rng.choice(letters, int(rng.integers(2, 10)))) for _ in range(14))


_DRAWN: Final[dict[str, Callable[[Rng], Scene]]] = {
    "brick": _brick,
    "asphalt": _asphalt,
    "timber": _timber,
    "foliage": _foliage,
    "sky": _sky,
    "text": _text,
}
