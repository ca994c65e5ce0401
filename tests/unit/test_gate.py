"""The gate: a challenger needs its limits and must be no worse than the champion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracks.gate import decide
from cracks.params import RegisterParams

LIMITS = RegisterParams(
    model_name="classifier",
    min_accuracy=0.9,
    min_recall=0.8,
    max_accuracy_drop=0.005,
    max_recall_drop=0.01,
)
SOUND = {"accuracy": 0.95, "recall": 0.9}
METRICS = st.fixed_dictionaries({"accuracy": st.floats(0, 1), "recall": st.floats(0, 1)})


def test_the_first_model_needs_only_its_own_limits() -> None:
    decision = decide(SOUND, None, LIMITS)
    assert (decision.accepted, decision.verdict) == (True, "accepted")
    assert decision.reasons == ["it is the first model, and within every limit"]


@pytest.mark.parametrize(
    ("metric", "value", "verdict"),
    [
        ("accuracy", 0.9, "accepted"),
        ("accuracy", 0.8999, "refused"),
        ("recall", 0.8, "accepted"),
        ("recall", 0.7999, "refused"),
    ],
)
def test_a_limit_itself_is_enough_and_less_is_not(metric: str, value: float, verdict: str) -> None:
    assert decide(SOUND | {metric: value}, None, LIMITS).verdict == verdict


@pytest.mark.parametrize(
    ("metric", "value", "verdict"),
    [
        ("accuracy", 0.95 - 0.005, "accepted"),
        ("accuracy", 0.944, "refused"),
        ("recall", 0.9 - 0.01, "accepted"),
        ("recall", 0.889, "refused"),
    ],
)
def test_the_allowed_drop_itself_is_allowed_and_more_is_not(
    metric: str, value: float, verdict: str
) -> None:
    decision = decide(SOUND | {metric: value}, SOUND, LIMITS)
    assert decision.verdict == verdict
    assert (f"register.max_{metric}_drop" in "; ".join(decision.reasons)) == (verdict == "refused")


def test_rounding_does_not_decide() -> None:
    limits = LIMITS.model_copy(update={"max_recall_drop": 0.1})
    new, old = 0.82, 0.92
    assert new < old - limits.max_recall_drop  # in binary numbers, though not in truth
    assert decide(SOUND | {"recall": new}, SOUND | {"recall": old}, limits).accepted


def test_a_refusal_names_every_broken_limit_with_its_numbers() -> None:
    reasons = decide({"accuracy": 0.7, "recall": 0.6}, SOUND, LIMITS).reasons
    expected = [
        ("register.min_accuracy", "0.7000", "0.9000"),
        ("register.max_accuracy_drop", "0.7000", "0.2500", "0.9500", "0.0050"),
        ("register.min_recall", "0.6000", "0.8000"),
        ("register.max_recall_drop", "0.6000", "0.3000", "0.9000", "0.0100"),
    ]
    for reason, parts in zip(reasons, expected, strict=True):
        assert all(part in reason for part in parts), reason
        assert "; " not in reason  # reasons are joined by it, and taken apart again


def test_the_comparison_is_a_table_of_both_models_and_the_limits() -> None:
    first, second = decide(SOUND | {"recall": 0.85}, SOUND, LIMITS).comparison
    assert first["metric"] == "accuracy"
    assert second == {
        "metric": "recall",
        "challenger": 0.85,
        "champion": 0.9,
        "minimum": 0.8,
        "max_drop": 0.01,
    }


@given(METRICS, METRICS)
def test_a_refusal_has_reasons_and_an_acceptance_breaks_no_limit(
    challenger: dict[str, float], champion: dict[str, float]
) -> None:
    decision = decide(challenger, champion, LIMITS)
    assert decision.reasons
    if decision.accepted:
        for row in decision.comparison:
            assert row["challenger"] >= row["minimum"]
            assert row["champion"] - row["challenger"] <= row["max_drop"] + 1e-9


@given(METRICS, METRICS, METRICS)
def test_a_better_challenger_is_never_refused_where_a_worse_one_is_accepted(
    one: dict[str, float], other: dict[str, float], champion: dict[str, float]
) -> None:
    worse = {name: min(one[name], other[name]) for name in one}
    if decide(worse, champion, LIMITS).accepted:
        assert decide(one, champion, LIMITS).accepted
