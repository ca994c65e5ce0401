"""evaluate: let validation decide, then measure on test what the classifier is worth."""

from __future__ import annotations

from typing import Any

from cracks.evaluation.assessment import (
    Drawn,
    Inputs,
    Scored,
    ask,
    draw_predictions,
    draw_suspects,
    draw_test,
    examine_labels,
    read_inputs,
    score,
    threads,
)
from cracks.evaluation.label_errors import COLUMNS
from cracks.evaluation.metrics import classification_table
from cracks.evaluation.protocol import measured, one_thread, rates_by_kind, reference_positions
from cracks.monitoring.drift.neighbours import choose_neighbours, write_neighbours
from cracks.monitoring.drift.reference import as_column
from cracks.monitoring.prediction_log.feature_projection import sketch
from cracks.system.atomic_files import atomic_replace, write_text
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import EvaluateReport
from cracks.workspace.tables import write_csv, write_table


def evaluate(params: Params, paths: Paths) -> EvaluateReport:
    """Score the held-out patches; the test split decides nothing, it is only measured."""
    inputs = read_inputs(params, paths, paths.changed_features)
    # While figures are drawn, one thread learns and one asks the network.
    with (
        one_thread(),
        threads() as (learning, asking),
        atomic_replace(paths.figures("evaluate")) as figures,
    ):
        out_of_fold = examine_labels(inputs, learning)
        scored = score(inputs)
        _write_decided(inputs, scored, paths)
        questions = ask(inputs, scored, asking)
        drawn = draw_test(inputs, scored, figures)
        examined, suspects = draw_suspects(inputs, scored, out_of_fold, figures)
        behaviour = draw_predictions(inputs, scored, questions, figures)
        report = measured(scored.decided, scored.validation, scored.test, params.evaluate.resamples)
        surfaces = questions.surfaces.result()
    inputs.frozen.save()
    _write_tables(drawn, suspects, behaviour, paths)
    _write_classification(scored, paths)
    return {
        **report,
        "drawn_surfaces_flagged": surfaces,
        "behaviour": rates_by_kind(behaviour),
        "label_errors": {
            "examined": len(examined.ids),
            "how": examined.how,
            "found": len(suspects),
        },
    }


def _write_decided(inputs: Inputs, scored: Scored, paths: Paths) -> None:
    scored.decided.novelty.save(paths.novelty)
    column = as_column(sketch(scored.features))
    write_table(scored.table.append_column("sketch", column), paths.scores)
    train = inputs.parts["train"]
    positions = reference_positions(train)
    ids, cracked = [train.ids[i] for i in positions], train.cracked[positions]
    write_neighbours(choose_neighbours(ids, cracked, scored.reference), paths.neighbours)


def _write_tables(drawn: Drawn, suspects: list[Any], behaviour: list[Any], paths: Paths) -> None:
    write_csv(drawn.slices, paths.slices)
    write_csv(suspects, paths.label_errors, COLUMNS)
    write_csv(behaviour, paths.behaviour)
    with atomic_replace(paths.curves) as folder:
        for name, table in drawn.curves.items():
            write_csv(table, folder / f"{name}.csv")


def _write_classification(scored: Scored, paths: Paths) -> None:
    cracked, scores = scored.test.part.cracked, scored.scores["test"]
    text = classification_table(cracked, scores, scored.decided.threshold)
    write_text(paths.classification_report, text)
