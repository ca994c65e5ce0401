"""Show an inspection as one picture: photograph, heat map, cracked patches and a legend."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cracks.dataset.labels import CRACK
from cracks.images.decode import Pixels
from cracks.inference.photos.inspection import PhotoInspection

#: Pixels of the longer side of the photograph in the picture: no more than a screen shows, no
#: less than lines and letters need.
LONGEST, SHORTEST = 1600, 640
#: Pixels of the least width at which the legend can be read.
LEGEND_WIDTH = 640

#: Colours by score, red, green, blue and opacity. Yellow and vermilion differ in brightness, too,
#: so that they are told apart by every kind of colour blindness, and on grey.
#: Source: Okabe, Ito, "Color Universal Design" (2008).
SCORES = (0.0, 0.15, 0.5, 1.0)
COLOURS = ((240, 228, 66, 0), (240, 228, 66, 0), (240, 228, 66, 95), (213, 60, 0, 125))
LINE, HALO = (255, 255, 255), (0, 0, 0)
PAPER, INK, WARNING = (255, 255, 255), (25, 25, 25), (170, 50, 0)

#: Points of the letters, and pixels around what is in the legend.
FONT_SIZE, MARGIN = 19, 14
BAR_WIDTH, BAR_HEIGHT = 210, 18


def draw_overlay(pixels: Pixels, inspection: PhotoInspection, version: str) -> Image.Image:
    """Return the picture of an inspection, at most `LONGEST` pixels plus the legend.

    Args:
        pixels: uint8 RGB (height, width, 3), what was inspected.
        inspection: what was found.
        version: of the model that predicted, for the legend.
    """
    photo = _fitted(pixels)
    scale = max(photo.size) / max(pixels.shape[:2])
    photo.paste(*_heat(inspection, photo.size, scale))
    _outline(photo, inspection, scale)
    legend = _legend(inspection, version, max(photo.width, LEGEND_WIDTH))
    whole = Image.new("RGB", (legend.width, photo.height + legend.height), PAPER)
    whole.paste(photo, (0, 0))
    whole.paste(legend, (0, photo.height))
    return whole


def encoded_picture(picture: Image.Image, image_format: str) -> bytes:
    """Return a picture as the bytes of a `PNG` or `JPEG` file."""
    stream = io.BytesIO()
    options = {"PNG": {"compress_level": 3}, "JPEG": {"quality": 88}}
    picture.save(stream, image_format, **options[image_format])
    return stream.getvalue()


def _fitted(pixels: Pixels) -> Image.Image:
    height, width = pixels.shape[:2]
    longest = max(width, height)
    scale = min(max(longest, SHORTEST), LONGEST) / longest
    # What is far too large is subsampled first, to save the memory of another photograph.
    step = max(1, int(0.5 / scale))
    photo = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _heat(
    inspection: PhotoInspection, size: tuple[int, int], scale: float
) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """Return the colours of the heat map, where they go, and how opaque they are."""
    heat = Image.fromarray(inspection.heat.heat.astype(np.float32))
    # The last row and column of cells may reach beyond the photograph.
    cell = inspection.heat.cell * scale
    width, height = (
        max(side, round(cells * cell)) for side, cells in zip(size, heat.size, strict=True)
    )
    fine = heat.resize((width, height), Image.Resampling.BILINEAR).crop((0, 0, *size))
    coloured = _coloured(np.asarray(fine, np.float32))
    return Image.fromarray(coloured[..., :3]), (0, 0), Image.fromarray(coloured[..., 3])


def _coloured(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return red, green, blue and opacity, uint8 (height, width, 4), of scores (height, width)."""
    table = np.column_stack(
        [
            np.interp(np.linspace(0, 1, 256), SCORES, channel)
            for channel in zip(*COLOURS, strict=True)
        ]
    )
    places = (scores.clip(0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(table.round().astype(np.uint8)[places])


def _outline(photo: Image.Image, inspection: PhotoInspection, scale: float) -> None:
    drawing = ImageDraw.Draw(photo)
    cracked = inspection.tiling.boxes[inspection.scores >= inspection.threshold]
    corners = [
        (x * scale, y * scale, (x + width) * scale - 1, (y + height) * scale - 1)
        for x, y, width, height in cracked.tolist()
    ]
    # White within black is seen on any ground; all the black first, or it would cut the white.
    for colour, line, inset in ((HALO, 3, 0), (LINE, 1, 1)):
        for left, top, right, bottom in corners:
            box = (left + inset, top + inset, right - inset, bottom - inset)
            if box[0] < box[2] and box[1] < box[3]:
                drawing.rectangle(box, outline=colour, width=line)


def _legend(inspection: PhotoInspection, version: str, width: int) -> Image.Image:
    font = ImageFont.load_default(FONT_SIZE)
    lines = _lines(inspection, version)
    step = FONT_SIZE + 8
    legend = Image.new("RGB", (width, 2 * MARGIN + step * (len(lines) + 1) + 6), PAPER)
    drawing = ImageDraw.Draw(legend)
    for number, (line, colour) in enumerate(lines):
        drawing.text((MARGIN, MARGIN + number * step), line, colour, font)
    _bar(drawing, inspection.threshold, MARGIN + len(lines) * step + 4, font)
    return legend


def _lines(inspection: PhotoInspection, version: str) -> list[tuple[str, tuple[int, int, int]]]:
    share, area = inspection.heat.crack_share, inspection.crack_area_cm2
    said = f"{inspection.label}: highest score {inspection.score:.3f}"
    if inspection.label == CRACK:
        said += f", {share:.1%} of the area" + ("" if area is None else f" ({area:,.1f} sq cm)")
    lines = [
        (said, INK),
        (f"model version {version}; a frame: a patch of {inspection.threshold:.3f} or more", INK),
    ]
    if inspection.novel:
        lines.append(("Unlike the training data: do not trust this result.", WARNING))
    return lines


def _bar(
    drawing: ImageDraw.ImageDraw,
    threshold: float,
    top: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw the colours by score, as they look on grey, with a mark at the threshold."""
    coloured = _coloured(np.linspace(0, 1, BAR_WIDTH, dtype=np.float32)[None])[0].astype(int)
    drawing.text((MARGIN, top - 2), "score 0", INK, font)
    left = MARGIN + int(drawing.textlength("score 0 ", font)) + 4
    for place, (red, green, blue, opacity) in enumerate(coloured.tolist()):
        mixed = tuple(
            (part * opacity + 150 * (255 - opacity)) // 255 for part in (red, green, blue)
        )
        drawing.line((left + place, top, left + place, top + BAR_HEIGHT), mixed)
    drawing.rectangle((left - 1, top - 1, left + BAR_WIDTH, top + BAR_HEIGHT + 1), outline=INK)
    mark = left + round(threshold * (BAR_WIDTH - 1))
    drawing.line((mark, top - 5, mark, top + BAR_HEIGHT + 5), INK, 3)
    drawing.text((left + BAR_WIDTH + 8, top - 2), "1     black mark: the threshold", INK, font)
