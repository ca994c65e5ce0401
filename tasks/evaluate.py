"""evaluate: let validation decide, then measure on test what the classifier is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    draw_least_certain,
    draw_occlusion,
    draw_perturbations,
)
from cracks.evaluation.figures.curves import (
    draw_evaluation,
    draw_label_errors,
    draw_mistakes,
    draw_novelty,
    draw_slices,
)
from cracks.evaluation.label_errors import (
    COLUMNS,
    examine_held_out,
    examine_out_of_fold,
    label_error_rows,
)
from cracks.evaluation.metrics import Curves, Scores, classification_table, curves
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
    one_thread,
    predictor_with,
    rates_by_kind,
    reference_features,
    reference_positions,
    sliced,
)
from cracks.images.decode import Pixels
from cracks.inference.bundle.novelty import Novelty
from cracks.inference.runtime.cached_network import CachedNetwork, identity_of
from cracks.inference.runtime.openvino_runtime import Runs, open_network
from cracks.monitoring.drift.neighbours import choose_neighbours, write_neighbours
from cracks.monitoring.drift.reference import Floats, as_column
from cracks.monitoring.prediction_log.feature_projection import sketch
from cracks.system.atomic_files import atomic_replace, write_text
from cracks.training.features.arrays import SplitFeatures, split_features
from cracks.workspace.params import EvaluateParams, Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import Report
from cracks.workspace.tables import read_table, write_csv, write_table

#: Side of the square that is covered to see what a score hangs on, and the way to the next one.
WINDOW, STRIDE = 75, 28


def evaluate(params: Params, paths: Paths) -> Report:
    """Score the held-out patches; the test split decides nothing, it is only measured."""
    section, precision, size = params.evaluate, params.featurize.precision, params.ingest.patch_size
    manifest, splits = read_table(paths.manifest), read_table(paths.splits)
    train, *others = (
        split_features(paths.features, manifest, splits, split)
        for split in ("train", "validation", "test")
    )
    probed = len(train.features.shape) == 1
    trainable = open_network(paths.trainable, precision)
    frozen, featurizer = _frozen_half(precision, paths, probed)
    # While figures are drawn others learn and ask the network: alone, each leaves a core idle.
    with (
        one_thread(),
        ThreadPoolExecutor(1) as learning,
        ThreadPoolExecutor(1) as asking,
        atomic_replace(paths.figures("evaluate")) as figures,
    ):
        parts = {part.split: part for part in (train, *others)}
        # Only features that are vectors are learned from in seconds, once for each fold.
        out_of_fold = learning.submit(examine_out_of_fold, parts, splits) if probed else None
        contents = {
            part.split: contents_of(rows_of(part.ids, manifest), paths.images) for part in others
        }
        validation, test = (
            held_out(featurizer, trainable, part, contents[part.split], size) for part in others
        )
        known = reference_features(trainable, train)
        decided = decide(section, validation, known)
        decided.novelty.save(paths.novelty)
        scores = {
            held.part.split: decided.calibration.apply(held.raw) for held in (validation, test)
        }
        _write_scores((validation, test), scores, decided.novelty, paths)
        _write_neighbours(train, known, paths)
        answer = predictor_with(featurizer, trainable, decided.calibration)
        changed = _picked(test, section.behaviour_patches, manifest, paths)
        explained = _picked(test, section.explained_patches, manifest, paths)
        variants = asking.submit(
            scores_of_variants,
            changed.pixels,
            changed.part.ids,
            changed.part.cracked,
            answer,
            PATCHES,
        )
        maps = asking.submit(occlusion_maps, np.stack(explained.pixels), answer, WINDOW, STRIDE)
        each = section.novelty.drawn_surfaces
        surfaces = asking.submit(
            flagged_surfaces, featurizer, trainable, decided.novelty, size, each
        )
        rows = rows_of(test.part.ids, manifest)
        slices = sliced(
            test, scores["test"], decided.threshold, rows, contents["test"], section.resamples
        )
        tables = _draw_test(test, scores["test"], decided, params, paths, manifest, figures)
        draw_slices(slices, figures)
        held = {split: parts[split] for split in scores}
        examined = out_of_fold.result() if out_of_fold else examine_held_out(held, scores)
        suspects = label_error_rows(examined, manifest)
        draw_label_errors(suspects, manifest, paths.images, section.label_errors_shown, figures)
        behaviour = _behaviour(changed, variants.result(), decided.threshold, section, figures)
        _explain(explained, maps.result(), scores["test"], figures)
        flagged = surfaces.result()
        report = measured(decided, validation, test, section.resamples)
    frozen.save()
    write_csv(slices, paths.slices)
    write_csv(suspects, paths.label_errors, COLUMNS)
    write_csv(behaviour, paths.behaviour)
    _write_curves(tables, paths.curves)
    text = classification_table(test.part.cracked, scores["test"], decided.threshold)
    write_text(paths.classification_report, text)
    return {
        **report,
        "drawn_surfaces_flagged": flagged,
        "behaviour": rates_by_kind(behaviour),
        "label_errors": {
            "examined": len(examined.ids),
            "how": examined.how,
            "found": len(suspects),
        },
    }


def _frozen_half(precision: str, paths: Paths, probed: bool) -> tuple[CachedNetwork, Runs]:
    """Return the frozen half as one that remembers, and what is asked for features.

    Features that are pixels are many, and made in no time: those are not remembered.
    """

    def opened() -> Runs:
        return open_network(paths.featurizer, precision)

    frozen = CachedNetwork(opened, identity_of(paths.featurizer, precision), paths.changed_features)
    return frozen, frozen if probed else opened()


@dataclass(frozen=True)
class _Picked:
    """Some patches of test, fixed by their labels and groups."""

    positions: npt.NDArray[np.intp]  # (n,), in test
    part: SplitFeatures
    pixels: list[Pixels]


def _picked(test: HeldOut, count: int, manifest: pa.Table, paths: Paths) -> _Picked:
    positions = behaviour_sample(test.part.cracked, test.part.groups, count, SEED)
    part = test.part.part(positions)
    return _Picked(positions, part, pixels_of(rows_of(part.ids, manifest), paths.images))


def _write_scores(
    parts: Sequence[HeldOut], scores: Mapping[str, Scores], novelty: Novelty, paths: Paths
) -> None:
    tables = [
        pa.table(
            {
                "id": held.part.ids,
                "split": [held.part.split] * len(held.part.ids),
                "cracked": held.part.cracked,
                "raw_score": held.raw,
                "score": scores[held.part.split],
                "novel": novelty.flagged(held.features),
                "sketch": as_column(sketch(held.features)),
            }
        )
        for held in parts
    ]
    write_table(pa.concat_tables(tables).combine_chunks(), paths.scores)


def _write_neighbours(train: SplitFeatures, known: Floats, paths: Paths) -> None:
    positions = reference_positions(train)
    ids = [train.ids[i] for i in positions]
    write_neighbours(choose_neighbours(ids, train.cracked[positions], known), paths.neighbours)


def _write_curves(tables: Curves, place: Path) -> None:
    with atomic_replace(place) as folder:
        for name, table in tables.items():
            write_csv(table, folder / f"{name}.csv")


def _draw_test(
    test: HeldOut,
    scores: Scores,
    decided: Decided,
    params: Params,
    paths: Paths,
    manifest: pa.Table,
    figures: Path,
) -> Curves:
    """Draw what test shows of the whole split, and return the curves."""
    cracked, threshold = test.part.cracked, decided.threshold
    tables = curves(cracked, scores, threshold, test.raw)
    answered, shown = (cracked, scores, threshold), params.evaluate.mistakes_shown
    draw_evaluation(tables, cracked, scores >= threshold, figures)
    draw_mistakes(manifest, paths.images, test.part.ids, answered, shown, figures)
    draw_least_certain(manifest, paths.images, test.part.ids, answered, shown, figures)
    distances = decided.novelty.share(test.features)
    draw_novelty(manifest, paths.images, test.part.ids, distances, figures)
    return tables


def _behaviour(
    changed: _Picked,
    scores: Mapping[str, Scores],
    threshold: float,
    section: EvaluateParams,
    figures: Path,
) -> list[dict[str, Any]]:
    """Draw how the answers for changed patches differ, and return a row a test."""
    part = changed.part
    rows = rows_of_scores(scores, part.cracked, part.groups, threshold, section.resamples, SEED)
    draw_behaviour(rows, figures)
    shown = [int(np.flatnonzero(part.cracked == label)[0]) for label in (False, True)]
    draw_perturbations(
        [changed.pixels[i] for i in shown],
        [part.ids[i] for i in shown],
        {name: values[shown] for name, values in scores.items()},
        threshold,
        figures,
    )
    return rows


def _explain(explained: _Picked, maps: Maps, scores: Scores, figures: Path) -> None:
    """Draw where the network looks, for a fixed set of patches."""
    labels = [LABELS[int(is_crack)] for is_crack in explained.part.cracked]
    shown = scores[explained.positions]
    draw_occlusion(np.stack(explained.pixels), maps, WINDOW, shown, labels, figures)
