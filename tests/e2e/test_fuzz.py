"""Five hundred damaged files among good ones: each is listed with its reason, the rest is kept."""

from __future__ import annotations

import csv
import io
import json
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet as pq
import pytest
from PIL import Image
from processes import clone_working_tree, environment

from cracks.digests import digest_of_bytes
from cracks.params import set_params
from cracks.sample import draw_sample

pytestmark = pytest.mark.e2e

SIZE = 227
DAMAGED = 500

#: Bytes of memory that no input may drive an ingest to.
MOST_MEMORY = 2_000_000_000

#: What a name may hold, other than letters.
ODD = ("", "\n", "\r", '"', '""', ",", "'", " ", "\t", ";", "\\", "#", "🧱", "ä́", "\u202e", "%s")

#: Runs a command, then prints how many kilobytes it and its children held at most.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def _encoded(image: Image.Image, format_: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format_)
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_bomb(side: int) -> bytes:
    """Return a whole PNG of black pixels, of which no more than one row was ever in memory."""
    row = bytes(1 + 3 * side)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1 | ((side * len(row)) % 65521) << 16  # Adler-32 of that many zeros
    data = b"\x78\xda" + packed * side + b"\x03\x00" + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _jpeg_bomb(side: int) -> bytes:
    """Return a whole JPEG of grey pixels: every block is six bits, `00` no change, `1010` end."""
    small = _encoded(Image.new("L", (8, 8), 128), "JPEG")
    frame, scan = small.index(b"\xff\xc0"), small.index(b"\xff\xda")
    start = scan + 2 + struct.unpack(">H", small[scan + 2 : scan + 4])[0]
    head = small[: frame + 5] + struct.pack(">HH", side, side) + small[frame + 9 : start]
    blocks = (-(-side // 8)) ** 2
    return head + b"\x28\xa2\x8a" * (blocks // 4 + 1) + b"\xff\xd9"


def test_the_bombs_are_whole_pictures() -> None:
    for bomb in (_png_bomb(1000), _jpeg_bomb(1000)):
        image = Image.open(io.BytesIO(bomb))
        image.load()
        assert image.size == (1000, 1000)


def _damages(rng: random.Random, good: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield suffixes and contents; some of it decodes nevertheless."""
    png = [_encoded(Image.open(io.BytesIO(content)), "PNG") for content in good[:8]]
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
        lambda: (".jpg", _encoded(Image.new("RGB", (SIZE, SIZE)), rng.choice(["BMP", "GIF"]))),
        lambda: (".png", _encoded(Image.new("L", (SIZE, rng.choice([1, 226, 228]))), "PNG")),
    ]
    bombs = [_png_bomb(30_000), _jpeg_bomb(30_000), *[_png_bomb(7_000)] * 8, _jpeg_bomb(7_000)]
    yield from ((".png" if bomb.startswith(b"\x89PNG") else ".jpg", bomb) for bomb in bombs)
    for number in range(DAMAGED - len(bombs)):
        yield kinds[number % len(kinds)]()


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


def _name(rng: random.Random, number: int, suffix: str) -> str:
    odd = ODD[number % len(ODD)]
    name = f"{odd}{number:03}{odd}{suffix}"
    if number % 25 == 0:
        name = f"{number:03}".ljust(255 - len(suffix), "x") + suffix
    return f"{rng.choice(['Positive', 'Negative'])}/{name}"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    rng = random.Random(2026)
    good = dict(draw_sample(60, seed=8))
    damaged = {
        _name(rng, number, suffix): content
        for number, (suffix, content) in enumerate(_damages(rng, list(good.values())))
    }
    assert len(damaged) == DAMAGED
    return good | damaged


def _is_usable(content: bytes) -> bool:
    """Judge without the product: a JPEG or PNG of the right size, every pixel of which decodes."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.size != (SIZE, SIZE):
                return False
            image.load()
            return image.convert("RGB").size == (SIZE, SIZE)
    except Exception:  # whatever damaged bytes make Pillow raise
        return False


@pytest.fixture(params=["folder", "zip"])
def source(request: pytest.FixtureRequest, tmp_path: Path, files: dict[str, bytes]) -> Path:
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return tmp_path / "photos.zip"
    for name, content in files.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(content)
    return tmp_path / "photos"


def _ingested(root: Path) -> int:
    """Run the stage, and return how many bytes of memory it took."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", "tasks", "ingest"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return int(done.stdout) * 1024


def _quarantine(root: Path) -> list[dict[str, Any]]:
    file = root / "reports/quarantine.csv"
    with file.open(newline="", encoding="utf-8") as lines:
        rows: list[dict[str, Any]] = list(csv.DictReader(lines))
    assert pandas.read_csv(file, keep_default_na=False).to_dict("records") == rows
    return rows


def test_every_file_is_kept_or_listed_and_memory_stays_small(
    source: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    root = clone_working_tree(tmp_path / "workspace")
    set_params(root / "params.yaml", [f"ingest.source={source}", "ingest.shard_rows=64"])
    assert _ingested(root) < MOST_MEMORY
    usable = {name for name, content in files.items() if _is_usable(content)}
    assert 60 < len(usable) < len(files) - 250, "there is some of both among what was damaged"
    quarantine = _quarantine(root)
    assert Counter(row["path"] for row in quarantine) == Counter(set(files) - usable)
    manifest = pq.read_table(root / "data/manifest.parquet").to_pylist()
    assert {row["path"]: row["id"] for row in manifest} == {
        name: digest_of_bytes(files[name]) for name in usable
    }
    reasons = {row["path"]: row["reason"] for row in quarantine}
    assert all(len(reason) > 8 for reason in reasons.values())
    for name, content in files.items():
        if not content:
            assert reasons[name] == "empty file"
        if content.startswith(b"Text number"):
            assert reasons[name] == "not a JPEG or PNG image"
        if len(content) > 9_000_000:
            assert reasons[name] == "too many pixels"
    report = json.loads((root / "reports/ingest.json").read_text())
    counted = (report["files"], report["patches"], report["quarantined"])
    assert counted == (len(files), len(usable), len(files) - len(usable))
