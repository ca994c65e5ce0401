"""Five hundred damaged files among good ones: each is listed with its reason, the rest is kept."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet as pq
import pytest
from damaged import SIZE, damages, jpeg_bomb, png_bomb
from PIL import Image
from processes import clone_working_tree, environment

from cracks.images.synthetic_concrete import draw_sample
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.params_file import set_params
from tests.unit.builders import write_files

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


def test_the_bombs_are_whole_pictures() -> None:
    for bomb in (png_bomb(1000), jpeg_bomb(1000)):
        image = Image.open(io.BytesIO(bomb))
        image.load()
        assert image.size == (1000, 1000)


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
        for number, (suffix, content) in enumerate(damages(rng, list(good.values()), DAMAGED))
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
    return write_files(tmp_path / "photos", files)


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
