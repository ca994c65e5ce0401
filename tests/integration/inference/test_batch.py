"""`cracks predict` on folders and prefixes: it streams, resumes where it stopped, and lists."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import RunningProcess
from s3 import S3Server

from cracks.inference.handover.prediction_id import parse_prediction_id
from cracks.system.hashing import digest_of_file
from tests.integration.bundles import grey_image, service_folder
from tests.integration.conftest import RunCracks

SIZE = 32
GREYS = (10, 250, 90, 170, 40, 210)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_folder(tmp_path_factory.mktemp("service"), size=SIZE, novelty=True)


@pytest.fixture
def predict(cracks: RunCracks, service: Path) -> RunCracks:
    return partial(cracks, service, "predict")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of six images in all formats, and a file that is none."""
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    for number, grey in enumerate(GREYS):
        format_ = ("JPEG", "PNG", "WEBP", "TIFF")[number % 4]
        place = folder / ("deeper" if number % 2 else "") / f"{number}.{format_.lower()}"
        place.write_bytes(grey_image(grey, format_, SIZE))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_bytes(b"no image either")
    return folder


def said(process: RunningProcess) -> dict[str, Any]:
    assert process.exit_code == 0, process.log
    summary: dict[str, Any] = json.loads(process.stdout)
    return summary


def rows(*places: Path) -> dict[str, dict[str, Any]]:
    """Return the predictions by the names of the files."""
    table = pa.concat_tables([pq.read_table(place) for place in places])
    found = {Path(row["file"]).name: row for row in table.to_pylist()}
    assert len(found) == len(table)
    return found


@pytest.mark.parametrize(
    "out", ["answers.parquet", pytest.param("answers", marks=pytest.mark.slow)]
)
def test_a_folder_is_predicted_file_by_file_and_again_only_what_is_new_or_changed(
    predict: RunCracks, images: Path, tmp_path: Path, out: str
) -> None:
    place = tmp_path / out
    summary = said(predict(images, "--out", place, "--json"))
    assert (summary["answers"], summary["answered_now"], summary["unreadable"]) == (6, 6, 1)
    assert (summary["cracks"], summary["novel"]) == (3, 0)
    found = rows(place) if place.is_file() else rows(*place.glob("part-*.parquet"))
    for number, grey in enumerate(GREYS):
        (name,) = (name for name in found if name.startswith(f"{number}."))
        row = found[name]
        assert row["score"] == pytest.approx(grey / 255, abs=0.02)
        assert row["label"] == ("crack" if grey > 128 else "no crack")
        assert (row["model_version"], row["run_id"], row["novel"]) == ("1", "run-1", False)
        digest = digest_of_file(Path(row["file"]))
        assert row["image_sha256"] == digest
        assert parse_prediction_id(row["prediction_id"]).image == digest[:16]
    with Path(summary["unreadable_list"]).open(newline="") as file:
        (unreadable,) = csv.DictReader(file)
    assert unreadable["file"] == str(images / "broken.jpg")
    assert unreadable["reason"] == "not a JPEG, PNG, WebP or TIFF image"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    again = said(predict(images, "--out", place, "--json"))
    assert (again["answers"], again["answered_now"]) == (6, 0)
    (images / "broken.jpg").write_bytes(grey_image(200, "JPEG", SIZE))
    (images / "0.jpeg").write_bytes(grey_image(201, "JPEG", SIZE))
    more = said(predict(images, "--out", place, "--json"))
    assert (more["answers"], more["answered_now"], more["unreadable"]) == (7, 2, 0)
    assert not list(tmp_path.rglob("*unreadable.csv"))
    found = rows(place) if place.is_file() else rows(*place.glob("part-*.parquet"))
    assert found["0.jpeg"]["label"] == "crack"
    assert "broken.jpg" in found


def test_ctrl_c_leaves_what_was_predicted_and_the_next_call_resumes(
    predict: RunCracks, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    content = grey_image(90, "JPEG", SIZE)
    for number in range(6_000):
        (folder / f"{number:05}.jpg").write_bytes(content)
    place = tmp_path / "answers.parquet"
    process = predict(folder, "--out", place, wait=False)
    parts = tmp_path / ".answers.parquet.parts"
    process.wait_until(lambda: list(parts.glob("part-*.parquet")), "the first shard")
    process.interrupt()
    assert process.wait(20) == 130
    assert "Traceback" not in process.stderr
    before = sum(pq.read_metadata(shard).num_rows for shard in parts.glob("part-*"))
    assert 0 < before < 6_000
    assert not list(parts.glob(".*partial"))

    summary = said(predict(folder, "--out", place, "--json"))
    assert (summary["answers"], summary["answered_now"]) == (6_000, 6_000 - before)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["s3://bucket/prefix"], 2, "--out"),
        (["nowhere", "--out", "x.parquet"], 1, "error: There is no file or folder nowhere"),
    ],
)
def test_wrong_calls_are_refused(
    predict: RunCracks, arguments: list[str], code: int, reason: str
) -> None:
    process = predict(*arguments)
    assert (process.exit_code, process.stdout) == (code, "")
    assert reason in process.stderr
    assert not Path("x.parquet").exists()


def test_where_nothing_can_be_read_it_fails_and_says_where_the_reasons_are(
    predict: RunCracks, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    process = predict(tmp_path, "--out", tmp_path / "answers.parquet")
    assert process.exit_code == 1
    assert "answers.unreadable.csv" in process.stderr


def test_a_prefix_in_s3_is_streamed_and_kept_nowhere(
    predict: RunCracks, images: Path, tmp_path: Path, s3_server: S3Server, workspace: Path
) -> None:
    bucket = s3_server.new_bucket()
    shutil.copytree(images, bucket / "2026" / "november")
    place = tmp_path / "answers.parquet"
    address = f"s3://{bucket.name}/2026"
    arguments = (address, "--out", place, "--json")
    summary = said(predict(*arguments, **s3_server.variables))
    assert (summary["answers"], summary["unreadable"]) == (6, 1)
    assert rows(place)["0.jpeg"]["file"] == f"{address}/november/0.jpeg"
    assert not (workspace / "data").exists()
    (bucket / "2026" / "more.png").write_bytes(grey_image(200, "PNG", SIZE))
    again = said(predict(*arguments, **s3_server.variables))
    assert (again["answers"], again["answered_now"]) == (7, 1)
