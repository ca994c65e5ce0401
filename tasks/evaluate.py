"""evaluate: choose the threshold on validation, then measure on validation and test."""

from __future__ import annotations

import pyarrow as pa

from cracks.features import SplitFeatures, split_features
from cracks.figures import draw_evaluation, draw_mistakes
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
    measured = {split: measure(cracked[split], scores[split], threshold) for split in held_out}
    return {"threshold": threshold, **measured}


def _write_scores(
    held_out: dict[str, SplitFeatures], scores: dict[str, Scores], paths: Paths
) -> None:
    rows = [
        {"id": id_, "split": split, "cracked": bool(cracked), "score": float(value)}
        for split, part in held_out.items()
        for id_, cracked, value in zip(part.ids, part.cracked, scores[split], strict=True)
    ]
    write_table(pa.Table.from_pylist(rows), paths.scores)
