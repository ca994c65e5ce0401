"""Damaged files, and hostile images: what a disk loses, and what somebody may think up."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.unit.builders import encoded

#: Pixels of a side of the good images.
SIZE = 227


# --- damaged --------------------------------------------------------------------------------------


def damages(rng: random.Random, good: list[bytes], count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` suffixes and contents; some of it decodes nevertheless.

    Args:
        rng: what is drawn from.
        good: JPEG files.
        count: some bombs are always among them.
    """
    png = [encoded(Image.open(io.BytesIO(content)), "PNG") for content in good[:8]]
    kinds: list[Callable[[], tuple[str, bytes]]] = [
        lambda: (".jpg", _cut(rng, rng.choice(good))),
        lambda: (".png", _cut(rng, rng.choice(png))),
        lambda: (".jpg", _flipped(rng, rng.choice(good))),
        lambda: (".png", _flipped(rng, rng.choice(png))),
        lambda: (".jpg", _overwritten(rng, rng.choice(good))),
        lambda: (".jpg", rng.choice(png)),
        lambda: (".jpg", f"Text number {rng.random()}, no picture\n".encode() * 40),
        lambda: (".png", rng.randbytes(rng.randrange(1, 3000))),
        lambda: (".jpg", b""),
        lambda: (".jpg", encoded(Image.new("RGB", (SIZE, SIZE)), rng.choice(["BMP", "GIF"]))),
        lambda: (".png", encoded(Image.new("L", (SIZE, rng.choice([1, 226, 228]))), "PNG")),
    ]
    bombs = [png_bomb(30_000), jpeg_bomb(30_000), *[png_bomb(7_000)] * 8, jpeg_bomb(7_000)]
    yield from ((".png" if bomb.startswith(b"\x89PNG") else ".jpg", bomb) for bomb in bombs)
    for number in range(count - len(bombs)):
        yield kinds[number % len(kinds)]()


def flip(file: Path, place: float = 0.5, bits: int = 1) -> None:
    """Change bits of the byte at a share of a file."""
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= bits
    file.write_bytes(content)


def damaged_copies(whole: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Yield copies in which three bytes are random ones."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        yield bytes(damaged)


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def _flipped(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 20)):
        # Half of it in the headers, where it does most harm.
        place = rng.randrange(rng.choice([700, len(content)]))
        damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _overwritten(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + rng.randbytes(64) + content[start + 64 :]


# --- bombs ----------------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(header: bytes, *chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _png_header(width: int, height: int) -> bytes:
    return struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of a few zeros, whatever size its header names."""
    pixels = zlib.compress(bytes(100))
    return _png(_png_header(width, height), _chunk(b"IDAT", pixels))


def png_bomb(side: int) -> bytes:
    """Return a whole PNG of black pixels, of which no more than one row was ever in memory."""
    return _png(_png_header(side, side), _chunk(b"IDAT", _zeros(1 + 3 * side, side)))


def _zeros(length: int, times: int) -> bytes:
    """Return deflated zeros, `times` as many as `length`, packed once and repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(bytes(length)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1 | ((length * times) % 65521) << 16  # Adler-32 of that many zeros
    return b"\x78\xda" + packed * times + b"\x03\x00" + struct.pack(">I", checksum)


def jpeg_bomb(side: int) -> bytes:
    """Return a whole JPEG of grey pixels: every block is six bits, `00` no change, `1010` end."""
    small = encoded(Image.new("L", (8, 8), 128), "JPEG")
    frame, scan = small.index(b"\xff\xc0"), small.index(b"\xff\xda")
    start = scan + 2 + struct.unpack(">H", small[scan + 2 : scan + 4])[0]
    head = small[: frame + 5] + struct.pack(">HH", side, side) + small[frame + 9 : start]
    blocks = (-(-side // 8)) ** 2
    return head + b"\x28\xa2\x8a" * (blocks // 4 + 1) + b"\xff\xd9"


def tiff(
    width: int,
    height: int,
    data: bytes,
    *,
    compression: int = 8,
    pages: int = 1,
    loop: bool = False,
) -> bytes:
    """Return a grey TIFF of one strip a page, which need not be as large as it says.

    Args:
        width: in pixels.
        height: in pixels.
        data: of the strip, of every page.
        compression: 1 none, 8 deflate (TIFF 6.0, section 3, and its technical note 2).
        pages: how many there are, all with the same strip.
        loop: whether the last page names the first one as the next.
    """
    start = 8 + len(data) + len(data) % 2
    fields = {
        256: (4, width),
        257: (4, height),
        258: (3, 8),
        259: (3, compression),
        262: (3, 1),
        273: (4, 8),
        277: (3, 1),
        278: (4, height),
        279: (4, len(data)),
    }
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(fields.items())
    )
    size = 2 + len(entries) + 4
    following = [start + size * page for page in range(1, pages)] + [start if loop else 0]
    directories = [
        struct.pack("<H", len(fields)) + entries + struct.pack("<I", after) for after in following
    ]
    return (
        b"II*\x00"
        + struct.pack("<I", start)
        + data
        + b"\x00" * (len(data) % 2)
        + b"".join(directories)
    )


# --- hostile --------------------------------------------------------------------------------------


def hostile_images() -> dict[str, bytes]:
    """Return images that somebody made to do harm, by what they are."""
    grey = Image.new("RGB", (SIZE, SIZE), (120, 120, 120))
    jpeg, png = encoded(grey, "JPEG"), encoded(grey, "PNG")
    frames = [Image.new("RGB", (SIZE, SIZE), (n, n, n)) for n in range(200)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../evil.py", "print('evil')")
    segment = b"\xff\xe1\xff\xff" + b"Exif\x00\x00" + bytes(65533 - 6)
    row = zlib.compress(b"\x00" * (1 + 3 * SIZE) * SIZE)
    return {
        "PNG of 60,000 × 60,000 zeros": png_bomb(60_000),
        "PNG of 5,000 × 5,000 zeros": png_bomb(5_000),
        "PNG that says 2³¹−1 × 2³¹−1": png_that_claims(2**31 - 1, 2**31 - 1),
        "PNG of no size": _png(_png_header(0, 0), _chunk(b"IDAT", zlib.compress(b""))),
        "PNG with more data than pixels": _png(
            _png_header(SIZE, SIZE), _chunk(b"IDAT", _zeros(1 << 20, 3000))
        ),
        "PNG with a text of a gigabyte": _png(
            _png_header(SIZE, SIZE),
            _chunk(b"zTXt", b"Comment\x00\x00" + _zeros(1 << 20, 1000)),
            _chunk(b"IDAT", row),
        ),
        "PNG with a colour profile of a gigabyte": _png(
            _png_header(SIZE, SIZE),
            _chunk(b"iCCP", b"profile\x00\x00" + _zeros(1 << 20, 1000)),
            _chunk(b"IDAT", row),
        ),
        "PNG of 200 frames": encoded(
            frames[0], "PNG", save_all=True, append_images=frames[1:], duration=1
        ),
        "JPEG of no size": jpeg.replace(
            struct.pack(">HH", SIZE, SIZE), struct.pack(">HH", 0, 0), 1
        ),
        "JPEG of 65,500 × 65,500": jpeg_bomb(65_500),
        "JPEG with Exif data of 20 MB": jpeg[:2] + segment * 305 + jpeg[2:],
        "JPEG that is an archive, too": jpeg + archive.getvalue(),
        "JPEG that is a page, too": jpeg[:2]
        + b"\xff\xfe\x00\x30<script>alert(document.cookie)</script><!--".ljust(52)
        + jpeg[2:],
        "program that begins as a GIF": b"GIF89a=1;/*" + bytes(90) + b"*/;import os\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
        "SVG that asks for a file": b'<svg xmlns="http://www.w3.org/2000/svg"><image '
        b'href="file:///etc/passwd"/></svg>',
        "WebP of 200 frames": encoded(
            frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=1
        ),
        "WebP cut in its header": encoded(grey, "WEBP")[:26],
        "TIFF of 60,000 × 60,000": tiff(60_000, 60_000, _zeros(1 << 20, 16)),
        "TIFF of 7,000 × 7,000 zeros": tiff(7_000, 7_000, _zeros(7_000, 7_000)),
        "TIFF of 5,000 × 5,000 zeros": tiff(5_000, 5_000, _zeros(5_000, 5_000)),
        "TIFF with more data than pixels": tiff(SIZE, SIZE, _zeros(1 << 20, 3000)),
        "TIFF with fewer data than pixels": tiff(7_000, 7_000, _zeros(100, 1)),
        "TIFF of no size": tiff(0, 0, b"", compression=1),
        "TIFF of 5,000 pages": tiff(SIZE, SIZE, bytes(SIZE * SIZE), compression=1, pages=5_000),
        "TIFF whose last page is its first": tiff(
            SIZE, SIZE, bytes(SIZE * SIZE), compression=1, loop=True
        ),
        "TIFF of a compression that there is not": tiff(SIZE, SIZE, bytes(99), compression=4711),
        "PNG within a JPEG": jpeg[:2] + png + jpeg[2:],
    }
