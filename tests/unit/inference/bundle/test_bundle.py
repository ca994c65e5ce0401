"""The bundle: every file is the one that was sealed, or the bundle is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cracks.errors import BundleError
from cracks.inference.bundle.bundle import CONTENT, NOVELTY, open_bundle
from cracks.inference.bundle.calibration import Calibration
from cracks.system.hashing import digest_of_file
from tests.unit.builders import sealed_bundle, write_files


def _rewrite(folder: Path, **changes: Any) -> None:
    file = folder / CONTENT
    content = json.loads(file.read_text())
    for name, value in changes.items():
        content[name] = value
    file.write_text(json.dumps(content))


def test_a_sealed_bundle_opens_and_says_what_it_is(tmp_path: Path) -> None:
    sealed = sealed_bundle(tmp_path, threshold=0.25)
    opened = open_bundle(tmp_path)
    assert opened == sealed
    assert opened.network.is_file()
    assert opened.content.threshold == 0.25
    assert opened.content.files.keys() == {"model.xml", "model.bin"}
    assert opened.digest == digest_of_file(tmp_path / CONTENT)


def test_equal_bundles_have_equal_digests_and_others_others(tmp_path: Path) -> None:
    first = sealed_bundle(tmp_path / "1")
    assert sealed_bundle(tmp_path / "2").digest == first.digest
    assert sealed_bundle(tmp_path / "3", weights=b"other").digest != first.digest
    assert sealed_bundle(tmp_path / "4", threshold=0.6).digest != first.digest


def test_calibration_and_precision_travel_with_the_bundle(tmp_path: Path) -> None:
    calibration = Calibration(method="temperature", temperature=2.0)
    sealed_bundle(tmp_path, calibration=calibration, precision="int8")
    content = open_bundle(tmp_path).content
    assert (content.format, content.precision) == (2, "int8")
    assert content.calibration == calibration
    assert float(content.calibration.apply(np.array([0.9]))[0]) == pytest.approx(0.75, abs=1e-6)


def test_a_bundle_knows_of_novelty_only_what_was_sealed_with_it(tmp_path: Path) -> None:
    assert sealed_bundle(tmp_path / "without").novelty is None
    write_files(tmp_path / "with", {NOVELTY: b"described"})
    bundle = sealed_bundle(tmp_path / "with")
    assert bundle.novelty == tmp_path / "with" / NOVELTY
    assert bundle.novelty.is_file()


def test_a_bundle_of_the_first_format_has_neither_calibration_nor_novelty(tmp_path: Path) -> None:
    sealed_bundle(tmp_path)
    content = json.loads((tmp_path / CONTENT).read_text())
    del content["calibration"], content["precision"]
    (tmp_path / CONTENT).write_text(json.dumps(content | {"format": 1}))
    opened = open_bundle(tmp_path)
    assert opened.novelty is None
    assert opened.content.precision == "f32"
    scores = np.array([0.0, 0.3, 1.0])
    assert opened.content.calibration.apply(scores).tolist() == scores.tolist()


@pytest.mark.parametrize("name", ["model.xml", "model.bin", NOVELTY])
@pytest.mark.parametrize("place", [0, -1])
def test_one_flipped_bit_is_refused_by_name(tmp_path: Path, name: str, place: int) -> None:
    write_files(tmp_path, {NOVELTY: b"described"})
    sealed_bundle(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[place] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"was altered: {name} has not the SHA-256"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model.xml", "model.bin", CONTENT])
@pytest.mark.parametrize("leave_a_folder", [False, True])
def test_a_missing_file_is_refused_by_name(tmp_path: Path, name: str, leave_a_folder: bool) -> None:
    sealed_bundle(tmp_path)
    (tmp_path / name).unlink()
    if leave_a_folder:
        (tmp_path / name).mkdir()
    with pytest.raises(BundleError, match=f"(has no|incomplete:) {name}"):
        open_bundle(tmp_path)


def test_a_missing_bundle_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"`dvc repro export` makes one"):
        open_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["evil.so", ".hidden", "folder/"])
def test_an_extra_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    sealed_bundle(tmp_path)
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(BundleError, match=re.escape(name.rstrip("/"))):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".", "", "-x"])
def test_a_name_that_is_a_path_is_refused_by_name(tmp_path: Path, name: str) -> None:
    sealed_bundle(tmp_path / "bundle")
    (tmp_path / "secret").write_bytes(b"secret")
    files = {name: digest_of_file(tmp_path / "secret")}
    _rewrite(tmp_path / "bundle", files=files)
    with pytest.raises(
        BundleError, match=rf"no description of a bundle: .*files.*{re.escape(name)}"
    ):
        open_bundle(tmp_path / "bundle")


def test_a_bundle_without_a_network_is_refused(tmp_path: Path) -> None:
    bundle = sealed_bundle(tmp_path)
    bundle.network.unlink()
    _rewrite(tmp_path, files={"model.bin": bundle.content.files["model.bin"]})
    with pytest.raises(BundleError, match=r"model\.xml"):
        open_bundle(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 3),
        ("precision", "f16"),
        ("calibration", {"method": "platt"}),
        ("calibration", {"method": "temperature", "temperature": 0}),
        ("threshold", 1.5),
        ("threshold", None),
        ("patch_size", 0),
        ("labels", ["crack"]),
        ("files", {"model.xml": "0" * 63}),
        ("trust_me", True),
    ],
)
def test_an_impossible_description_is_refused_by_key(tmp_path: Path, key: str, value: Any) -> None:
    sealed_bundle(tmp_path)
    _rewrite(tmp_path, **{key: value})
    with pytest.raises(BundleError, match=rf"{CONTENT} is no description of a bundle: .*{key}"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\xfa"])
def test_a_damaged_description_is_refused(tmp_path: Path, content: bytes) -> None:
    sealed_bundle(tmp_path)
    (tmp_path / CONTENT).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{CONTENT} is no description of a bundle"):
        open_bundle(tmp_path)
