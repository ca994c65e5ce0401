"""evaluate: let validation decide, then measure on test what the classifier is worth."""

from __future__ import annotations

from typing import Any

from cracks.evaluation.assessment import (
    Drawn,
    Inputs,
    Predictions,
    draw_doubted,
    draw_predictions,
    draw_sites_left_out,
    draw_test,
    examine_labels,
    leave_sites_out,
    probe,
    read_inputs,
    score,
    threads,
)
from cracks.evaluation.label_errors import COLUMNS, KEY_COLUMNS
from cracks.evaluation.metrics import classification_table
from cracks.evaluation.protocol import one_thread, rates_by_kind, reference_positions
from cracks.evaluation.slices import COLUMNS as SLICE_COLUMNS
from cracks.monitoring.drift.reference import choose_neighbours, write_patches
from cracks.monitoring.prediction_log.feature_projection import sketch, sketch_column
from cracks.system.atomic_files import atomic_replace, write_text
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import EvaluateReport
from cracks.workspace.tables import write_csv, write_table


def evaluate(params: Params, paths: Paths) -> EvaluateReport:
    """Score the held-out patches; the test split decides nothing, it is only measured."""
    inputs = read_inputs(params, paths, paths.changed_features)
    # While figures are drawn, one thread learns and one runs the network.
    with (
        one_thread(),
        threads() as (learning, predicting),
        atomic_replace(paths.figures("evaluate")) as figures,
    ):
        out_of_fold = examine_labels(inputs, learning)
        without_site = leave_sites_out(inputs, learning)
        predictions = score(inputs)
        _write_decided(inputs, predictions, paths)
        probes = probe(inputs, predictions, predicting)
        drawn = draw_test(inputs, predictions, figures)
        examined, to_review = draw_doubted(inputs, predictions, out_of_fold, figures)
        sites = draw_sites_left_out(without_site, figures)
        behaviour = draw_predictions(predictions, probes, figures)
        report = predictions.measured(params.evaluate.resamples)
        surfaces = probes.surfaces.result()
    inputs.frozen.save()
    _write_tables(drawn, to_review, behaviour, paths)
    write_csv(sites.rows, paths.sites_left_out, SLICE_COLUMNS)
    write_text(paths.classification_report, classification_table(predictions.scored["test"]))
    return {
        **report,
        "drawn_surfaces_flagged": surfaces,
        "behaviour": rates_by_kind(behaviour),
        "label_errors": examined.report(to_review),
        "sites_left_out": sites.report(),
    }


def _write_decided(inputs: Inputs, predictions: Predictions, paths: Paths) -> None:
    predictions.decided.novelty.save(paths.novelty)
    column = sketch_column(sketch(predictions.features))
    write_table(predictions.table.append_column("sketch", column), paths.scores)
    train = inputs.parts["train"]
    positions = reference_positions(train)
    ids, cracked = [train.ids[i] for i in positions], train.cracked[positions]
    write_patches(choose_neighbours(ids, cracked, predictions.reference), paths.neighbours)


def _write_tables(drawn: Drawn, to_review: list[Any], behaviour: list[Any], paths: Paths) -> None:
    write_csv(drawn.slices, paths.slices)
    tables = {paths.label_errors: COLUMNS, paths.label_errors_key: KEY_COLUMNS}
    for path, columns in tables.items():
        write_csv([{name: row[name] for name in columns} for row in to_review], path, columns)
    write_csv(behaviour, paths.behaviour)
    with atomic_replace(paths.curves) as folder:
        for name, table in drawn.curves.items():
            write_csv(table, folder / f"{name}.csv")
