"""evaluate: choose the threshold on validation, then measure on validation and test."""

from __future__ import annotations

import pyarrow as pa

from cracks.features import SplitFeatures, split_features
from cracks.figures.evaluation import draw_evaluation, draw_label_errors, draw_mistakes
from cracks.label_errors import (
    COLUMNS,
    Examined,
    examine_held_out,
    examine_out_of_fold,
    label_error_rows,
)
from cracks.metrics import Scores, choose_threshold, classification_table, curves, measure
from cracks.model.architectures import trainable_of
from cracks.model.storage import load_model
from cracks.model.training import score
from cracks.outputs import replacing, write_text
from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report
from cracks.tables import read_table, write_csv, write_table


def evaluate(params: Params, paths: Paths) -> Report:
    """Score the held-out patches; the test split decides nothing, it is only measured."""
    manifest, splits = read_table(paths.manifest), read_table(paths.splits)
    model = trainable_of(load_model(paths.classifier))
    held_out = {
        split: split_features(paths.features, manifest, splits, split)
        for split in ("validation", "test")
    }
    scores = {split: score(model, part.features) for split, part in held_out.items()}
    cracked = {split: part.cracked for split, part in held_out.items()}
    threshold = choose_threshold(
        cracked["validation"], scores["validation"], params.evaluate.min_crack_recall
    )
    _write_scores(held_out, scores, paths)
    write_text(
        paths.classification_report,
        classification_table(cracked["test"], scores["test"], threshold),
    )
    tables = curves(cracked["test"], scores["test"], threshold)
    with replacing(paths.curves) as folder:
        for name, rows in tables.items():
            write_csv(rows, folder / f"{name}.csv")
    examined = _examined(held_out, scores, manifest, splits, paths)
    suspects = label_error_rows(examined, manifest)
    write_csv(suspects, paths.label_errors, COLUMNS)
    with replacing(paths.figures("evaluate")) as figures:
        draw_evaluation(tables, cracked["test"], scores["test"] >= threshold, figures)
        draw_mistakes(
            manifest,
            paths.images,
            held_out["test"].ids,
            (cracked["test"], scores["test"], threshold),
            params.evaluate.mistakes_shown,
            figures,
        )
        draw_label_errors(
            suspects, manifest, paths.images, params.evaluate.label_errors_shown, figures
        )
    measured = {split: measure(cracked[split], scores[split], threshold) for split in held_out}
    questioned = {"examined": len(examined.ids), "how": examined.how, "found": len(suspects)}
    return {"threshold": threshold, **measured, "label_errors": questioned}


def _write_scores(
    held_out: dict[str, SplitFeatures], scores: dict[str, Scores], paths: Paths
) -> None:
    rows = [
        {"id": id_, "split": split, "cracked": bool(cracked), "score": float(value)}
        for split, part in held_out.items()
        for id_, cracked, value in zip(part.ids, part.cracked, scores[split], strict=True)
    ]
    write_table(pa.Table.from_pylist(rows), paths.scores)


def _examined(
    held_out: dict[str, SplitFeatures],
    scores: dict[str, Scores],
    manifest: pa.Table,
    splits: pa.Table,
    paths: Paths,
) -> Examined:
    # Only features that are vectors are learned from in seconds, once for each fold.
    if held_out["test"].features.ndim != 2:
        return examine_held_out(held_out, scores)
    train = split_features(paths.features, manifest, splits, "train")
    return examine_out_of_fold({"train": train, **held_out}, splits)
