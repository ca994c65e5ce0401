"""Handover: serving sees one whole champion at any moment, and the one that was promoted."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from cracks.errors import BundleError, ServiceError
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.handover.champion import (
    POINTER,
    Champion,
    name_champion,
    open_champion,
    read_champion,
    stage_bundle,
)
from tests.unit.builders import champion_of, sealed_bundle, tree


def _promote(service: Path, bundle: Bundle, version: str) -> Champion:
    name = stage_bundle(service, bundle, version)
    champion = champion_of(version, bundle.digest, name)
    name_champion(service, champion)
    return champion


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return sealed_bundle(tmp_path / "bundle")


@pytest.fixture
def service(tmp_path: Path) -> Path:
    return tmp_path / "service"


def test_what_is_promoted_is_what_serving_opens(service: Path, bundle: Bundle) -> None:
    champion = _promote(service, bundle, "3")
    opened, its_bundle = open_champion(service)
    assert opened == champion == read_champion(service)
    assert its_bundle.digest == bundle.digest
    assert its_bundle.folder == service / "bundles" / f"v3-{bundle.digest[:12]}"
    assert tree(its_bundle.folder) == tree(bundle.folder)


def test_a_staged_bundle_is_not_in_service_yet(service: Path, bundle: Bundle) -> None:
    stage_bundle(service, bundle, "1")
    assert read_champion(service) is None
    with pytest.raises(ServiceError, match=r"No champion is in service yet .*`cracks train`"):
        open_champion(service)


def test_staging_twice_changes_nothing(service: Path, bundle: Bundle) -> None:
    stage_bundle(service, bundle, "1")
    before = tree(service)
    stage_bundle(service, bundle, "1")
    assert tree(service) == before


def test_an_older_bundle_stays_to_go_back_to(service: Path, bundle: Bundle, tmp_path: Path) -> None:
    first = _promote(service, bundle, "1")
    _promote(service, sealed_bundle(tmp_path / "other", weights=b"other"), "2")
    name_champion(service, first)
    assert open_champion(service)[1].digest == bundle.digest


def test_a_bundle_other_than_the_one_in_hand_is_not_taken_for_it(
    service: Path, bundle: Bundle
) -> None:
    sealed_bundle(service / "bundles" / f"v1-{bundle.digest[:12]}", weights=b"other")
    with pytest.raises(BundleError):
        stage_bundle(service, bundle, "1")


def test_staging_again_replaces_a_damaged_copy(service: Path, bundle: Bundle) -> None:
    name = stage_bundle(service, bundle, "1")
    (service / "bundles" / name / "model.bin").unlink()
    assert stage_bundle(service, bundle, "1") == name
    assert tree(service / "bundles" / name) == tree(bundle.folder)


def test_a_reader_never_sees_half_a_pointer(service: Path, bundle: Bundle) -> None:
    champions = [champion_of(version) for version in ("1", "2")]
    name_champion(service, champions[0])
    done = threading.Event()

    def promote_for_ever() -> None:
        while not done.is_set():
            for champion in champions:
                name_champion(service, champion)

    writer = threading.Thread(target=promote_for_ever)
    writer.start()
    try:
        seen = [read_champion(service) for _ in range(500)]
    finally:
        done.set()
        writer.join()
    assert all(champion in champions for champion in seen)
    assert [path.name for path in service.iterdir()] == [POINTER]


@pytest.mark.parametrize("content", [b"", b'{"version": "1"', b"{}", b"[]", b"\xff\xfe\xfa"])
def test_a_damaged_pointer_says_so_and_how_to_fix_it(service: Path, content: bytes) -> None:
    service.mkdir()
    (service / POINTER).write_bytes(content)
    with pytest.raises(ServiceError, match=rf"{POINTER} is damaged .*Promote a version again"):
        open_champion(service)


@pytest.mark.parametrize("name", ["../bundle", "/bundle", "..", "a/b"])
def test_a_pointer_never_leads_out_of_the_service_folder(
    service: Path, bundle: Bundle, name: str
) -> None:
    champion = _promote(service, bundle, "1").model_dump() | {"bundle": name}
    (service / POINTER).write_text(json.dumps(champion))
    with pytest.raises(ServiceError, match=rf"{POINTER} is damaged"):
        open_champion(service)


def test_a_bundle_other_than_the_promoted_one_is_refused(service: Path, bundle: Bundle) -> None:
    champion = _promote(service, bundle, "1")
    shutil.rmtree(champion.folder(service))
    sealed_bundle(champion.folder(service), weights=b"other")
    with pytest.raises(BundleError, match="is not the one that was promoted as version 1"):
        open_champion(service)


def test_a_damaged_champion_is_refused_by_the_name_of_its_file(
    service: Path, bundle: Bundle
) -> None:
    champion = _promote(service, bundle, "1")
    (champion.folder(service) / "model.bin").write_bytes(b"rot")
    with pytest.raises(BundleError, match=r"altered: model\.bin"):
        open_champion(service)
