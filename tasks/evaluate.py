"""evaluate: let validation decide, then measure on test what the classifier is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cracks.behaviour import Answer, behaviour_sample, rows_of_scores, scores_of_variants
from cracks.evaluation import (
    PATCHES,
    SEED,
    Decided,
    HeldOut,
    answer_with,
    decide,
    flagged_surfaces,
    held_out,
    measured,
    rates_by_kind,
    reference_features,
    sliced,
)
from cracks.features import SplitFeatures, split_features
from cracks.figures.behaviour import (
    draw_behaviour,
    draw_least_certain,
    draw_occlusion,
    draw_perturbations,
)
from cracks.figures.canvas import pixels_of
from cracks.figures.evaluation import (
    draw_evaluation,
    draw_label_errors,
    draw_mistakes,
    draw_novelty,
    draw_slices,
)
from cracks.label_errors import (
    COLUMNS,
    examine_held_out,
    examine_out_of_fold,
    label_error_rows,
)
from cracks.labels import LABELS
from cracks.metrics import Curves, Scores, classification_table, curves
from cracks.networks import open_network
from cracks.occlusion import occlusion_maps
from cracks.outputs import replacing, write_text
from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report
from cracks.shards import contents_of, rows_of
from cracks.tables import read_table, write_csv, write_table

#: Side of the square that is covered to see what a score hangs on, and the way to the next one.
WINDOW, STRIDE = 75, 28


def evaluate(params: Params, paths: Paths) -> Report:
    """Score the held-out patches; the test split decides nothing, it is only measured."""
    section, precision = params.evaluate, params.featurize.precision
    manifest, splits = read_table(paths.manifest), read_table(paths.splits)
    train, *others = (
        split_features(paths.features, manifest, splits, split)
        for split in ("train", "validation", "test")
    )
    featurizer, trainable = (
        open_network(half, precision) for half in (paths.featurizer, paths.trainable)
    )
    contents = {
        part.split: contents_of(rows_of(part.ids, manifest), paths.images) for part in others
    }
    validation, test = (
        held_out(featurizer, trainable, part, contents[part.split], params.ingest.patch_size)
        for part in others
    )
    decided = decide(section, validation, reference_features(trainable, train))
    decided.novelty.save(paths.novelty)
    scores = {part.part.split: decided.calibration.apply(part.raw) for part in (validation, test)}
    _write_scores((validation, test), scores, paths)
    rows = rows_of(test.part.ids, manifest)
    slices = sliced(
        test, scores["test"], decided.threshold, rows, contents["test"], section.resamples
    )
    write_csv(slices, paths.slices)
    answer = answer_with(featurizer, trainable, decided.calibration)
    parts = {"train": train, "validation": validation.part, "test": test.part}
    with ThreadPoolExecutor(1) as pool, replacing(paths.figures("evaluate")) as figures:
        # Learned while the network answers and figures are drawn: alone, each leaves a core idle.
        questioned = pool.submit(_suspects, parts, scores, manifest, splits)
        tables = _draw_test(test, scores["test"], decided, params, paths, manifest, figures)
        draw_slices(slices, figures)
        behaviour = _behaviour(test, answer, decided.threshold, params, paths, manifest, figures)
        _explain(test, scores["test"], answer, params, paths, manifest, figures)
        suspects, label_errors = questioned.result()
        shown = section.label_errors_shown
        draw_label_errors(suspects, manifest, paths.images, shown, figures)
    write_csv(suspects, paths.label_errors, COLUMNS)
    with replacing(paths.curves) as folder:
        for name, table in tables.items():
            write_csv(table, folder / f"{name}.csv")
    write_csv(behaviour, paths.behaviour)
    text = classification_table(test.part.cracked, scores["test"], decided.threshold)
    write_text(paths.classification_report, text)
    size, each = params.ingest.patch_size, section.novelty.drawn_surfaces
    surfaces = flagged_surfaces(featurizer, trainable, decided.novelty, size, each)
    return {
        **measured(decided, validation, test, section.resamples),
        "drawn_surfaces_flagged": surfaces,
        "behaviour": rates_by_kind(behaviour),
        "label_errors": label_errors,
    }


def _write_scores(parts: Sequence[HeldOut], scores: Mapping[str, Scores], paths: Paths) -> None:
    tables = [
        pa.table(
            {
                "id": held.part.ids,
                "split": [held.part.split] * len(held.part.ids),
                "cracked": held.part.cracked,
                "raw_score": held.raw,
                "score": scores[held.part.split],
            }
        )
        for held in parts
    ]
    write_table(pa.concat_tables(tables).combine_chunks(), paths.scores)


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
    test: HeldOut,
    answer: Answer,
    threshold: float,
    params: Params,
    paths: Paths,
    manifest: pa.Table,
    figures: Path,
) -> list[dict[str, Any]]:
    """Test the behaviour on some patches, draw it, and return a row a test."""
    part, section = test.part, params.evaluate
    picked = part.part(behaviour_sample(part.cracked, part.groups, section.behaviour_patches, SEED))
    patches = pixels_of(rows_of(picked.ids, manifest), paths.images)
    scores = scores_of_variants(patches, picked.ids, picked.cracked, answer, PATCHES)
    rows = rows_of_scores(scores, picked.cracked, picked.groups, threshold, section.resamples, SEED)
    draw_behaviour(rows, figures)
    shown = [int(np.flatnonzero(picked.cracked == label)[0]) for label in (False, True)]
    draw_perturbations(
        [patches[i] for i in shown],
        [picked.ids[i] for i in shown],
        {name: values[shown] for name, values in scores.items()},
        threshold,
        figures,
    )
    return rows


def _explain(
    test: HeldOut,
    scores: Scores,
    answer: Answer,
    params: Params,
    paths: Paths,
    manifest: pa.Table,
    figures: Path,
) -> None:
    """Draw where the network looks, for a fixed set of patches."""
    part = test.part
    shown = behaviour_sample(part.cracked, part.groups, params.evaluate.explained_patches, SEED)
    patches = np.stack(pixels_of(rows_of([part.ids[i] for i in shown], manifest), paths.images))
    maps = occlusion_maps(patches, answer, WINDOW, STRIDE)
    labels = [LABELS[int(part.cracked[i])] for i in shown]
    draw_occlusion(patches, maps, WINDOW, scores[shown], labels, figures)


def _suspects(
    parts: Mapping[str, SplitFeatures],
    scores: Mapping[str, Scores],
    manifest: pa.Table,
    splits: pa.Table,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the labels that are probably wrong, most suspicious first, and a report of them."""
    # Only features that are vectors are learned from in seconds, once for each fold.
    if len(parts["test"].features.shape) == 1:
        examined = examine_out_of_fold(parts, splits)
    else:
        examined = examine_held_out({split: parts[split] for split in scores}, scores)
    suspects = label_error_rows(examined, manifest)
    report = {"examined": len(examined.ids), "how": examined.how, "found": len(suspects)}
    return suspects, report
