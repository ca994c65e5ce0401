"""Evaluate a classifier: what validation decides, and what is then measured on other patches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.manifest import numbers_of
from cracks.evaluation.behaviour_tests import batched
from cracks.evaluation.intervals import measure_with_intervals, rate_with_interval
from cracks.evaluation.metrics import Scored, Scores, choose_threshold, measure
from cracks.evaluation.slices import crack_proxies, slice_rows
from cracks.images.batches import decoded_batches
from cracks.images.decode import Pixels, decode_stored, resampled
from cracks.images.synthetic_surfaces import MATERIALS, draw_surface
from cracks.inference.bundle.calibration import Calibration, calibration_report, fit_calibration
from cracks.inference.bundle.novelty import Novelty, fit_novelty
from cracks.inference.runtime.openvino_runtime import Outputs, Runs, joined
from cracks.system.parallel import prefetch_map
from cracks.training.features.arrays import SplitFeatures
from cracks.workspace.params import EvaluateParams
from cracks.workspace.stage_reports import MeasuredReport

#: Vectors, and patches, that a network gets at once: small batches of these use every core best.
VECTORS, PATCHES = 256, 4

#: Training patches that the novelty reference is made from where their features must be computed.
REFERENCE = 4000

#: What the manifest knows of a patch and slices are cut along.
FACTS = ("brightness", "sharpness")

#: What is measured of the darkest line of a cracked patch, and what the slices call it.
CRACK_FACTS = {"dark_line_contrast": "crack contrast", "dark_line_width": "crack width"}

SEED = 0


@dataclass(frozen=True)
class HeldOut:
    """Patches that the classifier was not trained on, and the outputs of its network."""

    part: SplitFeatures
    raw: Scores  # (n,), as the network gives them
    features: npt.NDArray[np.float32]  # (n, channels)


@dataclass(frozen=True)
class Decided:
    """What validation decides, and test does not."""

    calibration: Calibration
    threshold: float  # of calibrated scores
    novelty: Novelty

    def scored(self, held: HeldOut) -> Scored:
        """Return patches with their calibrated scores."""
        scores = self.calibration.apply(held.raw)
        return Scored(held.part.cracked, scores, self.threshold, held.part.groups)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let one thread add up every sum: by how many it is done decides on the last digits.

    Most of what an evaluation adds up is too small to be shared out; it also takes less time.
    """
    # Only libraries that are loaded can be told.
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def held_out(
    featurizer: Runs, trainable: Runs, part: SplitFeatures, contents: Sequence[bytes], size: int
) -> HeldOut:
    """Return the patches of a split with the outputs of the network.

    Features that are vectors are taken as they were computed. Pixels were stored as whole grey
    values, which is enough to learn from; here the network sees what it will see in service: the
    encoded images of the n patches, `size` pixels wide and high.
    """
    if len(part.features.shape) == 1:
        outputs = joined(trainable.stream(part.features.batches(VECTORS)))
    else:
        patches = decoded_batches(contents, size, PATCHES, decode=decode_stored)
        outputs = _both(featurizer, trainable, patches)
    return HeldOut(part, outputs["score"][:, 0].astype(np.float64), outputs["features"])


def reference_positions(train: SplitFeatures) -> npt.NDArray[np.intp]:
    """Return which training patches are looked at: all whose features are known, or evenly some."""
    count = len(train.ids)
    if len(train.features.shape) == 1:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, min(count, REFERENCE)).astype(np.intp))


def reference_features(trainable: Runs, train: SplitFeatures) -> npt.NDArray[np.float32]:
    """Return features (n, channels) of the training patches at `reference_positions`."""
    if len(train.features.shape) == 1:
        return train.features.all()
    part = train.part(reference_positions(train)).features
    return joined(trainable.stream(part.batches(PATCHES)))["features"]


def decide(
    section: EvaluateParams, validation: HeldOut, reference: npt.NDArray[np.float32]
) -> Decided:
    """Choose calibration, threshold and novelty limit on validation.

    Novelty is the distance from `reference`, features (n, channels) of training patches.
    """
    cracked = validation.part.cracked
    calibration = fit_calibration(section.calibration, cracked, validation.raw)
    scores = calibration.apply(validation.raw)
    novelty = fit_novelty(
        reference,
        validation.features,
        validation.part.groups,
        max_flagged=section.novelty.max_flagged,
    )
    threshold = choose_threshold(cracked, scores, section.min_crack_recall)
    return Decided(calibration, threshold, novelty)


def measured(
    decided: Decided, validation: HeldOut, test: HeldOut, resamples: int
) -> MeasuredReport:
    """Return the metrics of both splits, and how calibration and novelty do on them.

    Only test, which decided nothing, gets intervals, of 95 %; `resamples` are of their bootstrap.
    """
    flagged = rate_with_interval(decided.novelty.flagged(test.features), test.part.groups)
    effect = calibration_report(decided.calibration, test.part.cracked, test.raw)
    return {
        "threshold": decided.threshold,
        "calibration": {"fitted": decided.calibration.model_dump(mode="json"), **effect},
        "novelty": {"limit": decided.novelty.limit, "flagged_on_test": flagged},
        "validation": measure(decided.scored(validation)),
        "test": measure_with_intervals(decided.scored(test), resamples, SEED),
    }


def flagged_surfaces(
    featurizer: Runs, trainable: Runs, novelty: Novelty, size: int, each: int
) -> dict[str, float]:
    """Return the share of drawn pictures that is flagged as novel, of each other material.

    `each` pictures of a material are drawn, `size` pixels wide and high.
    """
    wanted = [(material, number) for material in MATERIALS for number in range(each)]

    def drawn(one: tuple[str, int]) -> Pixels:
        material, number = one
        rng = np.random.default_rng([SEED, MATERIALS.index(material), number])
        return resampled(draw_surface(material, rng), size)

    patches = prefetch_map(drawn, wanted)
    outputs = _both(featurizer, trainable, batched(patches, PATCHES))
    flagged = novelty.flagged(outputs["features"]).reshape(len(MATERIALS), each)
    return dict(zip(MATERIALS, flagged.mean(axis=1).tolist(), strict=True))


def sliced(test: Scored, rows: pa.Table, contents: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return how well each slice of test is predicted; see `cracks.evaluation.slices.slice_rows`.

    The rows of the manifest and the encoded images are those of the n patches of test.
    """
    facts = numbers_of(rows, *FACTS)
    # Of clean patches there is no crack to measure: the thirds are those of the cracks.
    cracks = [content for content, cracked in zip(contents, test.cracked, strict=True) if cracked]
    proxies = list(prefetch_map(lambda one: crack_proxies(decode_stored(one)), cracks))
    for name, fact in CRACK_FACTS.items():
        facts[fact] = np.full(len(contents), np.nan)
        facts[fact][test.cracked] = [proxy[name] for proxy in proxies]
    kinds = {name: rows[name].to_pylist() for name in ("source", "site")}
    slices = slice_rows(facts, kinds, test)
    return [row for row in slices if row["cracks"] or row["fact"] not in CRACK_FACTS.values()]


def predictor_with(
    featurizer: Runs, trainable: Runs, calibration: Calibration
) -> Callable[[Iterable[Pixels]], Scores]:
    """Return a function from uint8 batches (b, size, size, 3) to calibrated scores (n,)."""

    def predict(batches: Iterable[Pixels]) -> Scores:
        raw = _both(featurizer, trainable, batches)["score"][:, 0]
        return calibration.apply(raw.astype(np.float64))

    return predict


def rates_by_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the rates of behaviour tests by kind and test, with names that a metric may have."""
    rates: dict[str, dict[str, float]] = {}
    for row in rows:
        rates.setdefault(_plain(row["kind"]), {})[_plain(row["test"])] = row["rate"]
    return rates


def _plain(text: str) -> str:
    signs = text.replace("−", "minus ").replace("+", "plus ").replace("×", "times ")
    return re.sub(r"[^a-z0-9.]+", "_", signs.lower()).strip("_")


def _both(featurizer: Runs, trainable: Runs, patches: Iterable[Pixels]) -> Outputs:
    features = (part["features"] for part in featurizer.stream(patches))
    return joined(trainable.stream(features))
