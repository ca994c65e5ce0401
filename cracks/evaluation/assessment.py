"""The steps of an evaluation: score, decide, probe the network, draw, and measure on test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.figures import pixels_of
from cracks.dataset.labels import LABELS
from cracks.dataset.shards import contents_of, rows_of
from cracks.evaluation.behaviour_tests import behaviour_sample, rows_of_scores, scores_of_variants
from cracks.evaluation.figures.behaviour import (
    draw_behaviour,
    draw_occlusion,
    draw_perturbations,
)
from cracks.evaluation.figures.curves import draw_evaluation, draw_novelty, draw_slices
from cracks.evaluation.figures.patches import draw_label_errors, draw_least_certain, draw_mistakes
from cracks.evaluation.label_errors import (
    Examined,
    examine_held_out,
    examine_out_of_fold,
    rows_to_review,
)
from cracks.evaluation.metrics import Curves, Scored, Scores, curves
from cracks.evaluation.occlusion import Maps, occlusion_maps
from cracks.evaluation.protocol import (
    PATCHES,
    SEED,
    Decided,
    HeldOut,
    decide,
    flagged_surfaces,
    held_out,
    measured,
    predictor_with,
    reference_features,
    sliced,
)
from cracks.evaluation.sites_left_out import LeftOut, measure_sites_left_out
from cracks.images.decode import Pixels
from cracks.images.perturbations import UNDISTURBED
from cracks.inference.runtime.cached_network import CachedNetwork, identity_of
from cracks.inference.runtime.openvino_runtime import Runs, open_network
from cracks.training.features.arrays import SplitFeatures, split_features
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import MeasuredReport
from cracks.workspace.tables import read_table

#: Side of the square that is covered to see what a score hangs on, and the way to the next one.
WINDOW, STRIDE = 75, 28


@dataclass(frozen=True)
class Inputs:
    """The data that a classifier is evaluated on, and the halves that it is made of."""

    params: Params
    manifest: pa.Table
    splits: pa.Table
    images: Path
    parts: dict[str, SplitFeatures]  # train, validation, test
    featurizer: Runs
    trainable: Runs
    frozen: CachedNetwork  # the featurizer with a cache of its outputs

    @property
    def probed(self) -> bool:
        """Whether features are vectors: those of a frozen backbone."""
        return len(self.parts["train"].features.shape) == 1

    def pictures(self, ids: Sequence[str]) -> list[Pixels]:
        """Return the pictures of patches."""
        return pixels_of(rows_of(ids, self.manifest), self.images)


@dataclass(frozen=True)
class Predictions:
    """What the classifier predicts for the patches that it was not trained on."""

    validation: HeldOut
    test: HeldOut
    contents: list[bytes]  # encoded images of test
    reference: npt.NDArray[np.float32]  # features of training patches
    decided: Decided
    scored: dict[str, Scored]  # of both splits

    @property
    def table(self) -> pa.Table:
        """A row a patch: id, split, cracked, raw_score, score and novel."""
        tables = [
            pa.table(
                {
                    "id": held.part.ids,
                    "split": [held.part.split] * len(held.part.ids),
                    "cracked": held.part.cracked,
                    "raw_score": held.raw,
                    "score": self.scored[held.part.split].scores,
                    "novel": self.decided.novelty.flagged(held.features),
                }
            )
            for held in (self.validation, self.test)
        ]
        return pa.concat_tables(tables).combine_chunks()

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """The features (n, channels) of the rows of `table`."""
        return np.concatenate([self.validation.features, self.test.features])

    def measured(self, resamples: int) -> MeasuredReport:
        """Return the metrics of both splits; see `cracks.evaluation.protocol.measured`."""
        return measured(self.decided, self.validation, self.test, resamples)


@dataclass(frozen=True)
class Picked:
    """Some patches of test, fixed by their labels and groups."""

    positions: npt.NDArray[np.intp]  # (n,), in test
    part: SplitFeatures
    pixels: list[Pixels]


@dataclass(frozen=True)
class Probes:
    """What the network computes while figures are drawn."""

    changed: Picked
    variants: Future[dict[str, Scores]]  # of `changed`, in every variant
    explained: Picked
    maps: Future[Maps]  # of `explained`
    surfaces: Future[dict[str, float]]  # the share flagged of each other material


@dataclass(frozen=True)
class Drawn:
    """The tables that figures were drawn from."""

    curves: Curves
    slices: list[dict[str, Any]]


@contextmanager
def threads() -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    """Yield a thread that learns and one that runs the network: alone, each leaves a core idle."""
    with ThreadPoolExecutor(1) as learning, ThreadPoolExecutor(1) as predicting:
        yield learning, predicting


def read_inputs(params: Params, paths: Paths, cache: Path) -> Inputs:
    """Return the data and the network of a workspace; `cache` has outputs of the frozen half.

    Raises:
        WorkspaceError: something is missing or does not match; BundleError: a network is damaged.
    """
    manifest, splits = read_table(paths.manifest), read_table(paths.splits)
    parts = {
        split: split_features(paths.features, manifest, splits, split)
        for split in ("train", "validation", "test")
    }
    precision = params.featurize.precision

    def opened() -> Runs:
        return open_network(paths.featurizer, precision)

    frozen = CachedNetwork(opened, identity_of(paths.featurizer, precision), cache)
    # Features that are pixels are many, and made in no time: those are not cached.
    probed = len(parts["train"].features.shape) == 1
    trainable = open_network(paths.trainable, precision)
    featurizer = frozen if probed else opened()
    return Inputs(params, manifest, splits, paths.images, parts, featurizer, trainable, frozen)


def score(inputs: Inputs) -> Predictions:
    """Score validation and test, and choose calibration, threshold and limit on validation."""
    size, parts = inputs.params.ingest.patch_size, inputs.parts
    halves = inputs.featurizer, inputs.trainable
    contents = {
        split: contents_of(rows_of(parts[split].ids, inputs.manifest), inputs.images)
        for split in ("validation", "test")
    }
    validation, test = (
        held_out(*halves, parts[split], contents[split], size) for split in contents
    )
    reference = reference_features(inputs.trainable, parts["train"])
    decided = decide(inputs.params.evaluate, validation, reference)
    scored = {held.part.split: decided.scored(held) for held in (validation, test)}
    return Predictions(validation, test, contents["test"], reference, decided, scored)


def examine_labels(inputs: Inputs, learning: ThreadPoolExecutor) -> Future[Examined] | None:
    """Begin to score every patch out of fold; None where features are no vectors.

    Only features that are vectors are learned from in seconds, once for each fold.
    """
    if not inputs.probed:
        return None
    return learning.submit(examine_out_of_fold, inputs.parts, inputs.splits)


def leave_sites_out(inputs: Inputs, learning: ThreadPoolExecutor) -> Future[LeftOut] | None:
    """Begin to predict each site by what the others teach; None where features are no vectors."""
    most = inputs.params.evaluate.sites_left_out
    if not inputs.probed or not most:
        return None
    return learning.submit(measure_sites_left_out, inputs.parts, inputs.manifest, most)


def probe(inputs: Inputs, predictions: Predictions, predicting: ThreadPoolExecutor) -> Probes:
    """Begin to predict patches that are changed, covered, or of other materials."""
    section, size = inputs.params.evaluate, inputs.params.ingest.patch_size
    halves, decided = (inputs.featurizer, inputs.trainable), predictions.decided
    predict = predictor_with(*halves, decided.calibration)
    changed = _picked(inputs, predictions.test, section.behaviour_patches)
    explained = _picked(inputs, predictions.test, section.explained_patches)
    part = changed.part
    variants = predicting.submit(
        scores_of_variants, changed.pixels, part.ids, part.cracked, predict, PATCHES
    )
    maps = predicting.submit(occlusion_maps, np.stack(explained.pixels), predict, WINDOW, STRIDE)
    drawn = section.novelty.drawn_surfaces
    surfaces = predicting.submit(flagged_surfaces, *halves, decided.novelty, size, drawn)
    return Probes(changed, variants, explained, maps, surfaces)


def draw_test(inputs: Inputs, predictions: Predictions, figures: Path) -> Drawn:
    """Draw what the whole split test shows, and return curves and slices."""
    test, scored, ids = predictions.test, predictions.scored["test"], predictions.test.part.ids
    section = inputs.params.evaluate
    rows = rows_of(ids, inputs.manifest)
    slices = sliced(scored, rows, predictions.contents)
    tables = curves(scored, test.raw)
    draw_evaluation(tables, scored, figures)
    draw_mistakes(ids, scored, inputs.pictures, section.mistakes_shown, figures)
    draw_least_certain(ids, scored, inputs.pictures, section.mistakes_shown, figures)
    distances = predictions.decided.novelty.share(test.features)
    draw_novelty(ids, distances, inputs.pictures, figures)
    draw_slices(slices, figures / "slices.png")
    return Drawn(tables, slices)


def draw_sites_left_out(measured: Future[LeftOut] | None, figures: Path) -> LeftOut:
    """Draw how well each site is predicted by what the others teach, and return it."""
    sites = measured.result() if measured else LeftOut([], {})
    if sites.rows:
        draw_slices(sites.rows, figures / "sites_left_out.png")
    return sites


def draw_doubted(
    inputs: Inputs, predictions: Predictions, out_of_fold: Future[Examined] | None, figures: Path
) -> tuple[Examined, list[dict[str, Any]]]:
    """Draw the patches whose labels to look at again, and return them with what was examined.

    Where no scores are computed out of fold, the held-out ones of `predictions` are examined.
    """
    held = {split: inputs.parts[split] for split in predictions.scored}
    scores = {split: scored.scores for split, scored in predictions.scored.items()}
    examined = out_of_fold.result() if out_of_fold else examine_held_out(held, scores)
    rows = rows_to_review(examined, inputs.manifest)
    draw_label_errors(rows, inputs.pictures, inputs.params.evaluate.label_errors_shown, figures)
    return examined, rows


def draw_predictions(
    predictions: Predictions, probes: Probes, figures: Path
) -> list[dict[str, Any]]:
    """Draw predictions for changed patches and where the network looks; return the tests' rows."""
    changed, scores = probes.changed, probes.variants.result()
    part, threshold = changed.part, predictions.decided.threshold
    undisturbed = Scored(part.cracked, scores[UNDISTURBED], threshold, part.groups)
    rows = rows_of_scores(scores, undisturbed)
    draw_behaviour(rows, figures)
    shown = [int(np.flatnonzero(part.cracked == label)[0]) for label in (False, True)]
    draw_perturbations(
        [changed.pixels[i] for i in shown],
        [part.ids[i] for i in shown],
        {name: values[shown] for name, values in scores.items()},
        threshold,
        figures,
    )
    explained = probes.explained
    labels = [LABELS[int(is_crack)] for is_crack in explained.part.cracked]
    given = predictions.scored["test"].scores[explained.positions]
    pixels, maps = np.stack(explained.pixels), probes.maps.result()
    draw_occlusion(pixels, maps, WINDOW, given, labels, figures)
    return rows


def _picked(inputs: Inputs, test: HeldOut, count: int) -> Picked:
    positions = behaviour_sample(test.part.cracked, test.part.groups, count, SEED)
    part = test.part.part(positions)
    return Picked(positions, part, inputs.pictures(part.ids))
