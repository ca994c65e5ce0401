"""The gate: limits hold for any number; a loss must be ruled out, and chance is no skill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracks.errors import ParamsError
from cracks.evaluation.paired_comparison import Difference
from cracks.registry.gate import (
    SEPARATOR,
    Decision,
    check_limits,
    decide,
    judge,
    limit_rows,
    numbers_of,
)
from cracks.workspace.params import LimitParams, RegisterParams
from cracks.workspace.stage_reports import Counted

SECTION = RegisterParams.model_validate(
    {
        "model_name": "classifier",
        "limits": {"evaluate.test.accuracy": {"min": 0.9}, "bundle.megabytes": {"max": 50.0}},
        "confidence": 0.95,
        "margins": {"accuracy": 0.005, "recall": 0.02},
        "verdicts": {
            "first": "promote",
            "better": "promote",
            "not worse": "register",
            "undecided": "ask",
            "worse": "refuse",
        },
    }
)
SPLIT: Any = {"counted": "photographs", "photographs_known": 1.0}
SOUND = {"evaluate.test.accuracy": 0.95, "bundle.megabytes": 9.8}

ALIKE = Difference(
    metric="accuracy",
    challenger=0.99,
    champion=0.99,
    difference=0.0,
    low=-0.001,
    high=0.001,
    p_higher=0.6,
    p_lower=0.6,
    mcnemar_p=1.0,
    patches=3000,
    groups=3000,
    gained=4,
    lost=4,
    groups_gained=4,
    groups_lost=4,
)
HIGHER = replace(ALIKE, challenger=0.995, difference=0.005, low=0.002, high=0.008, p_higher=0.01)
LOWER = replace(ALIKE, challenger=0.985, difference=-0.005, low=-0.008, high=-0.002, p_lower=0.01)
VAGUE = replace(ALIKE, low=-0.03, high=0.03, groups=90)
LITTLE_LOWER = replace(LOWER, challenger=0.9895, difference=-0.0005, low=-0.0009, high=-0.0001)
AT_THE_MARGIN = replace(ALIKE, low=-SECTION.margins.accuracy)


def judged(
    numbers: dict[str, float | None], differences: list[Difference] | None, section: RegisterParams
) -> Decision:
    return decide(check_limits(numbers, section.limits), differences, section, SPLIT)


def recall(accuracy: Difference) -> Difference:
    return replace(accuracy, metric="recall")


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "other", "expected"),
    [
        (ALIKE, ALIKE, "not worse"),
        (HIGHER, ALIKE, "better"),
        (ALIKE, HIGHER, "better"),
        (VAGUE, ALIKE, "undecided"),
        (ALIKE, VAGUE, "undecided"),
        (HIGHER, VAGUE, "undecided"),
        (LOWER, ALIKE, "worse"),
        (ALIKE, LOWER, "worse"),
        (HIGHER, LOWER, "worse"),
        (LOWER, VAGUE, "worse"),
        (LITTLE_LOWER, ALIKE, "worse"),  # a loss within the margin is one, if it is real
        # As every metric must do, each is tested at the full level.
        (replace(LOWER, p_lower=0.04), ALIKE, "worse"),
        (replace(LOWER, p_lower=0.06), ALIKE, "undecided"),
        (replace(HIGHER, p_higher=0.04), ALIKE, "better"),
        # Each metric has a margin of its own.
        (ALIKE, replace(ALIKE, low=-0.01), "not worse"),
        (replace(ALIKE, low=-0.01), ALIKE, "undecided"),
        (AT_THE_MARGIN, ALIKE, "undecided"),
        (replace(AT_THE_MARGIN, low=AT_THE_MARGIN.low + 1e-6), ALIKE, "not worse"),
    ],
)
def test_every_metric_must_do_and_one_that_is_lower_decides(
    accuracy: Difference, other: Difference, expected: str
) -> None:
    assert judge([accuracy, recall(other)], SECTION, "photographs")[0] == expected


def test_the_first_model_has_nothing_to_be_compared_with() -> None:
    assert judge(None, SECTION, "photographs") == ("first", ["it is the first model"])


def test_without_a_crack_that_is_new_to_the_champion_nothing_is_decided() -> None:
    assert judge([], SECTION, "photographs")[0] == "undecided"


@pytest.mark.parametrize(
    ("differences", "action"),
    [
        (None, "promote"),
        ([HIGHER, recall(ALIKE)], "promote"),
        ([ALIKE, recall(ALIKE)], "register"),
        ([VAGUE, recall(ALIKE)], "ask"),
        ([LOWER, recall(ALIKE)], "refuse"),
    ],
)
def test_what_a_verdict_leads_to_is_a_parameter(
    differences: list[Difference] | None, action: str
) -> None:
    assert judged(SOUND, differences, SECTION).action == action


FIGURES = st.floats(-1, 1)


@given(FIGURES, FIGURES, st.floats(0, 1), st.floats(0, 1))
def test_every_verdict_has_reasons_with_numbers(
    low: float, difference: float, p_higher: float, p_lower: float
) -> None:
    one = replace(
        ALIKE, difference=difference, low=low, high=abs(low), p_higher=p_higher, p_lower=p_lower
    )
    reached, reasons = judge([one, recall(ALIKE)], SECTION, "photographs")
    assert reasons
    for reason in reasons:
        assert SEPARATOR not in reason  # reasons are joined by it, and taken apart again
        assert "0.9900 against the champion's 0.9900" in reason
    if reached in ("better", "not worse"):
        assert low > -SECTION.margins.accuracy
        assert p_lower > 0.05


@pytest.mark.parametrize(
    ("counted", "evidence"),
    [
        ("photographs", "4 of 3,000 patches of 90 photographs gained, 4 lost"),
        ("sites", "4 of 3,000 patches of 90 sites gained, 4 lost"),
        ("patches", "4 of 3,000 patches gained, 4 lost"),
    ],
)
def test_an_undecided_verdict_says_how_much_evidence_could_decide(
    counted: Counted, evidence: str
) -> None:
    (reason,) = judge([ALIKE, recall(VAGUE)], SECTION, counted)[1]
    assert reason.startswith("crack recall 0.9900 against the champion's 0.9900")
    assert evidence in reason
    # (1 - 0.02) ** 149 is the first power below 0.05.
    assert reason.endswith(f"a loss of 0.02 is not ruled out, which takes 149 {counted}, not 90")


def test_where_photographs_are_unknown_the_reasons_say_that_patches_are_counted() -> None:
    unknown: Any = {"counted": "patches", "photographs_known": 0.37}
    differences = [ALIKE, recall(ALIKE)]
    known, reasons = (decide([], differences, SECTION, one).reasons for one in (SPLIT, unknown))
    assert not [reason for reason in known if "one by one" in reason]
    assert reasons[-1].startswith("photographs are known of 37% of the patches, the others count")
    assert decide([], None, SECTION, unknown).reasons == ["it is the first model"]


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("evaluate.test.accuracy", 0.9, True),
        ("evaluate.test.accuracy", 0.8999, False),
        ("bundle.megabytes", 50.0, True),
        ("bundle.megabytes", 50.01, False),
    ],
)
def test_a_limit_itself_is_enough_and_beyond_it_is_not(
    name: str, value: float, holds: bool
) -> None:
    decision = judged(SOUND | {name: value}, None, SECTION)
    assert (decision.action == "promote") == holds
    (row,) = [row for row in decision.limits if row["metric"] == name]
    assert (row["value"], row["holds"]) == (value, holds)


@pytest.mark.parametrize("differences", [None, [HIGHER, recall(HIGHER)]])
def test_a_broken_limit_refuses_whatever_the_comparison_says(
    differences: list[Difference] | None,
) -> None:
    decision = judged(
        {"evaluate.test.accuracy": 0.7, "bundle.megabytes": 80.5}, differences, SECTION
    )
    assert decision.verdict == ("better" if differences else "first")
    assert decision.action == "refuse"
    assert decision.reasons[:2] == [
        "evaluate.test.accuracy 0.7000 is below its limit 0.9000",
        "bundle.megabytes 80.5 is above its limit 50",
    ]
    assert len(decision.reasons) > 2  # and the numbers of the comparison


def test_a_number_that_could_not_be_measured_breaks_its_limit() -> None:
    decision = judged(SOUND | {"bundle.megabytes": None}, None, SECTION)
    assert decision.action == "refuse"
    assert "bundle.megabytes could not be measured" in decision.reasons[0]


def test_a_limit_on_a_number_that_there_is_not_is_refused_with_near_ones() -> None:
    with pytest.raises(ParamsError, match=r"no number evaluate\.test\.acuracy\.") as refusal:
        check_limits(SOUND, {"evaluate.test.acuracy": LimitParams(min=0.5)})
    assert "Did you mean evaluate.test.accuracy" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_star_stands_for_every_number_that_was_measured() -> None:
    numbers = {
        "slices.brightness.lowest.crack_recall": 0.95,
        "slices.brightness.highest.crack_recall": 0.7,
        "slices.source.no cracks.crack_recall": None,
        "slices.brightness.lowest.accuracy": 0.1,
    }
    checked = check_limits(numbers, {"slices.*.crack_recall": LimitParams(min=0.8)})
    assert [(row["metric"], row["holds"]) for row in limit_rows(checked)] == [
        ("slices.brightness.highest.crack_recall", False),
        ("slices.brightness.lowest.crack_recall", True),
    ]
    with pytest.raises(ParamsError, match="no number"):
        check_limits(numbers, {"slices.*.recall": LimitParams(min=0.8)})


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_number_never_breaks_a_least_limit_that_a_lower_one_keeps(
    one: float, other: float, least: float
) -> None:
    limits = {"evaluate.x": LimitParams(min=least)}
    (lower,), (higher,) = (
        check_limits({"evaluate.x": value}, limits) for value in sorted((one, other))
    )
    assert higher.broken is None or lower.broken is not None


# --- the numbers that limits are of ---------------------------------------------------------------


def slice_of(fact: str, part: str, **numbers: Any) -> dict[str, Any]:
    return {"fact": fact, "slice": f"{fact} {part}", "patches": "9", **numbers}


def test_every_number_of_a_report_has_its_name() -> None:
    reports = {
        "evaluate": {"test": {"accuracy": 0.9, "confusion": {"missed_cracks": 3}}, "how": "words"},
        "export": {"sizes": {"model.xml": 500_000, "model.bin": 8_000_000}},
    }
    assert numbers_of(reports, []) == {
        "evaluate.test.accuracy": 0.9,
        "evaluate.test.confusion.missed_cracks": 3.0,
        "export.sizes.model.xml": 500_000.0,
        "export.sizes.model.bin": 8_000_000.0,
        "bundle.megabytes": 8.5,
    }


def test_slices_are_named_by_rank_since_their_ends_change_with_the_data() -> None:
    rows = [
        slice_of("brightness", "84.1–163"),
        slice_of("brightness", "163–182"),
        slice_of("brightness", "182–250"),
        slice_of("crack contrast", "-3–135"),
        slice_of("crack contrast", "136"),
        slice_of("crack contrast", "unknown"),
        slice_of("sharpness", "5"),
        slice_of("source", "metu-2k.zip", crack_recall="0.99"),
        slice_of("source", "site 14", crack_recall=""),
    ]
    numbers = numbers_of({}, rows)
    assert [name.removesuffix(".patches") for name in numbers if name.endswith("patches")] == [
        "slices.brightness.lowest",
        "slices.brightness.middle",
        "slices.brightness.highest",
        "slices.crack contrast.lowest",
        "slices.crack contrast.highest",
        "slices.crack contrast.unknown",
        "slices.sharpness.all",
        "slices.source.metu-2k.zip",
        "slices.source.site 14",
    ]
    assert numbers["slices.source.metu-2k.zip.crack_recall"] == 0.99
    assert numbers["slices.source.site 14.crack_recall"] is None


def test_the_comparison_is_a_table_with_the_margins() -> None:
    decision = judged(SOUND, [ALIKE, recall(ALIKE)], SECTION)
    assert [(row["metric"], row["margin"]) for row in decision.comparison] == [
        ("accuracy", 0.005),
        ("recall", 0.02),
    ]
    assert decision.comparison[0]["mcnemar_p"] == 1.0
