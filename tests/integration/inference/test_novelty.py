"""Novelty on real photographs of concrete: drawn pictures of other materials are told apart."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from processes import CHECKOUT
from scipy.stats import binomtest

from cracks.images.batches import decoded_batches
from cracks.images.decode import Pixels
from cracks.images.synthetic_canvas import PATCH_SIZE
from cracks.images.synthetic_surfaces import MATERIALS, draw_surface
from cracks.inference.bundle.novelty import Features, Novelty, fit_novelty
from cracks.inference.runtime.openvino_runtime import Network
from cracks.workspace.params import FeaturizeParams

SHARED = Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared"))
PHOTOGRAPHS = SHARED / "data/metu-2k.zip"
WEIGHTS = SHARED / "weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"

pytestmark = [
    # The rules themselves: tests/unit/inference/bundle/test_novelty.py.
    pytest.mark.slow,
    pytest.mark.kernels,
    pytest.mark.skipif(
        not (PHOTOGRAPHS.is_file() and WEIGHTS.is_file()),
        reason=f"{PHOTOGRAPHS} or {WEIGHTS} is absent: real input that is no part of the project",
    ),
]

#: Patches of each label for training, validation and test: blocks of neighbours, so that one
#: photograph lies in one block but for the two at the edges.
BLOCKS = ((0, 600), (600, 800), (800, 1000))
EACH = 20  # drawn pictures of a material

#: A share counts as more than another one if chance gives that once in a thousand times at most.
CERTAIN = 0.001


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    from cracks.training.networks.architectures import build_backbone, build_frozen
    from cracks.training.networks.keras_files import convert_model

    params = FeaturizeParams(
        architecture="mobilenetv2",
        weights=str(WEIGHTS),
        image_size=160,
        precision="f32",
        batch_size=4,
    )
    model = tmp_path_factory.mktemp("featurizer") / "featurizer.xml"
    convert_model(build_frozen(build_backbone(params), PATCH_SIZE, params.image_size), model)
    return Network(model)


def features_of(network: Network, batches: Iterable[Pixels]) -> Features:
    (rows,) = network.run_all(batches).values()
    return rows


def number_in(name: str) -> int:
    return int(Path(name).stem.split("_")[0])


@pytest.fixture(scope="module")
def concrete(network: Network) -> list[Features]:
    """The features of clean and cracked patches, block by block."""
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = sorted((n for n in archive.namelist() if n.endswith(".jpg")), key=number_in)
        labels = [
            [n for n in names if f"{label}/" in n][start:end]
            for start, end in BLOCKS
            for label in ("Negative", "Positive")
        ]
        contents = [[archive.read(name) for name in part] for part in labels]
    blocks = [contents[i] + contents[i + 1] for i in range(0, len(contents), 2)]
    return [features_of(network, decoded_batches(block, PATCH_SIZE, 4)) for block in blocks]


@pytest.fixture(scope="module")
def novelty(concrete: list[Features]) -> Novelty:
    train, validation, _ = concrete
    # Neighbours in the numbering often show one photograph.
    photographs = [str(place // 5) for place in range(len(validation))]
    return fit_novelty(train, validation, photographs)


def is_more_than(share: float, flagged: npt.NDArray[np.bool_]) -> bool:
    """Return whether so many are flagged that chance does not explain it."""
    count = int(flagged.sum())
    return bool(binomtest(count, len(flagged), share, alternative="greater").pvalue < CERTAIN)


def test_of_concrete_that_nobody_has_seen_one_patch_in_a_hundred_is_flagged_at_most(
    concrete: list[Features], novelty: Novelty, tmp_path: Path
) -> None:
    flagged = novelty.flagged(concrete[2])
    assert not is_more_than(0.01, flagged), f"{flagged.sum()} of {len(flagged)}"
    novelty.save(tmp_path / "novelty.npz")
    assert (tmp_path / "novelty.npz").stat().st_size < 3_000_000


def test_nearly_all_drawn_pictures_of_other_materials_are_flagged_and_none_passes_for_concrete(
    network: Network, novelty: Novelty
) -> None:
    flagged = {}
    for number, material in enumerate(MATERIALS):
        drawn = [
            draw_surface(material, np.random.default_rng([23, number, i])) for i in range(EACH)
        ]
        batches = [np.stack(drawn[i : i + 4]) for i in range(0, EACH, 4)]
        flagged[material] = novelty.flagged(features_of(network, batches))
    shares = {material: float(found.mean()) for material, found in flagged.items()}
    assert is_more_than(0.8, np.concatenate(list(flagged.values()))), shares
    assert all(is_more_than(0.01, found) for found in flagged.values()), shares
