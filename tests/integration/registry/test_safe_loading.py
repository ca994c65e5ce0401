"""Safe loading: one byte of any file of a bundle, and it is refused by name before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from damaged import flip

from cracks.errors import BundleError
from cracks.inference.bundle.bundle import CONTENT, NOVELTY, Bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import name_champion, open_champion, stage_bundle
from tests.integration.bundles import make_bundle
from tests.unit.builders import champion_of

NAMES = ("model.xml", "model.bin", NOVELTY, CONTENT)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", novelty=True, size=32)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_one_byte_of_any_file_in_service_is_noticed_and_named(
    bundle: Bundle, tmp_path: Path, name: str, place: float
) -> None:
    service = tmp_path / "service"
    champion = champion_of("1", bundle.digest, stage_bundle(service, bundle, "1"))
    name_champion(service, champion)
    Classifier(open_champion(service)[1])
    flip(champion.folder(service) / name, place)
    # Of bundle.json itself nothing tells which byte it is, only that it is another bundle.
    expected = rf"{name}|is not the one that was promoted|{champion.bundle}"
    with pytest.raises(BundleError, match=expected):
        open_champion(service)
