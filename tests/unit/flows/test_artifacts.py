"""What Prefect's UI shows of a stage, as Markdown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cracks.monitoring.history import Window
from cracks.registry.model_card import metrics_table, reliability
from cracks.system.templates import render
from flows.artifacts import as_markdown
from tests.unit.flows.test_stage_summaries import EVALUATION

REPORT = {
    "version": "3",
    "previous": "2",
    "verdict": "undecided",
    "action": "ask",
    "reasons": ["too few photographs", "recall may be lower"],
    "run_id": "5c0b",
}


def test_a_report_is_a_row_a_key() -> None:
    report = {"source": "a|b.zip", "labels": {"crack": 3}, "digest": None, "patches": 5}
    assert as_markdown("ingest", report).splitlines() == [
        "## ingest",
        "",
        "| | |",
        "|---|---|",
        r"| source | a\|b.zip |",
        '| labels | {"crack": 3} |',
        "| digest | None |",
        "| patches | 5 |",
    ]


def test_an_evaluation_is_its_threshold_its_metrics_and_what_may_be_believed() -> None:
    parts = {"metrics_table": metrics_table, "reliability": reliability}
    text = render("flows/evaluate_artifact.md.jinja", report=EVALUATION, **parts)
    expected = ["## evaluate", "Threshold 0.4321", metrics_table(EVALUATION)]
    assert text == "\n\n".join([*expected, reliability(EVALUATION)])


def test_a_verdict_has_its_reasons_as_a_list() -> None:
    text = render("flows/register_artifact.md.jinja", report=REPORT)
    reasons = "- too few photographs\n- recall may be lower"
    assert text == f"## undecided: ask\n\n{reasons}\n\nMLflow run `5c0b`"


def test_a_promotion_names_the_version_before_where_there_was_one() -> None:
    later = render("flows/promote_artifact.md.jinja", report=REPORT)
    assert later == "## promote\n\nVersion 3 is in service, before it 2."
    first = render("flows/promote_artifact.md.jinja", report=REPORT | {"previous": None})
    assert first == "## promote\n\nVersion 3 is in service."


def test_a_question_to_a_person_names_version_reasons_and_run() -> None:
    text = render("flows/approval_question.md.jinja", report=REPORT)
    assert text.startswith("## Version 3: undecided\n\n- too few photographs\n- recall may")
    assert text.endswith("\n\nThe model card is in the MLflow registry; the run is `5c0b`.")


def test_a_window_is_its_hours_its_answers_and_what_came_of_it() -> None:
    begin = datetime(2026, 11, 21, 23, tzinfo=UTC)
    window = Window(
        begin=begin,
        end=begin + timedelta(hours=1),
        made=begin,
        judged=True,
        answers=12345,
        model_version="3",
    )
    text = render("flows/monitoring_artifact.md.jinja", window=window, outcome="Nothing fired.")
    assert text == (
        "## Monitoring\n\n2026-11-21 23:00 to 00:00 UTC: 12,345 predictions, version 3.\n\n"
        "Nothing fired."
    )
