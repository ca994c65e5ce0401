"""Decide what becomes of a challenger: its limits, then the comparison with the champion.

A loss is ruled out by a bound that lies above minus the margin (non-inferiority: Piaggio et al.,
CONSORT extension, JAMA 308, 2012, 2594–2604, figure 1), and it must be ruled out in every metric.
Each may then be tested at the full level, as all of them must pass (intersection–union test:
Berger, Technometrics 24, 1982, 295–300). A difference is real if exchanging the two models would
hardly ever give one as large; see `cracks.evaluation.paired_comparison`.

A challenger that is really lower is `worse` even within the margin: steps that each lose what the
margin allows would add up (D'Agostino, Massaro & Sullivan, Statistics in Medicine 22, 2003,
169–186, call it biocreep).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypedDict

from cracks.errors import ParamsError
from cracks.evaluation.metrics import spoken
from cracks.evaluation.paired_comparison import Difference
from cracks.workspace.params import Action, LimitParams, RegisterParams
from cracks.workspace.reports import flatten
from cracks.workspace.stage_reports import Counted, SplitReport, StageReports

Verdict = Literal["first", "better", "not worse", "undecided", "worse", "unchanged"]

#: Numbers of the reports by name; None where there was nothing to measure.
Numbers = Mapping[str, float | None]

#: What separates reasons where they are one text.
SEPARATOR = "; "

#: The parts of a fact that is a number, in rising order, by how many there are.
THIRDS = {1: ["all"], 2: ["lowest", "highest"], 3: ["lowest", "middle", "highest"]}

#: A number or a range of numbers, as slices are named.
RANGE = re.compile(r"-?[\d.]+(–-?[\d.]+)?")
UNKNOWN = "unknown"

#: Columns of a slice that are words.
WORDS = ("fact", "slice")


@dataclass(frozen=True)
class Checked:
    """A limit and the number that it is held against."""

    metric: str
    value: float | None
    min: float | None
    max: float | None

    @property
    def broken(self) -> str | None:
        """Return in words how the limit is broken, or None."""
        if self.value is None:
            return f"{self.metric} could not be measured, and has a limit"
        if self.min is not None and self.value < self.min:
            return f"{self.metric} {_shown(self.value)} is below its limit {_shown(self.min)}"
        if self.max is not None and self.value > self.max:
            return f"{self.metric} {_shown(self.value)} is above its limit {_shown(self.max)}"
        return None


@dataclass(frozen=True)
class Decision:
    """A verdict, what it leads to, and every reason in words with its numbers."""

    verdict: Verdict
    action: Action
    reasons: list[str]
    comparison: list[dict[str, Any]] = field(default_factory=list)
    limits: list[dict[str, Any]] = field(default_factory=list)


class RegisterReport(TypedDict):
    """The decision as the report of the stage `register`, and what became of the model."""

    changed: bool  # whether MLflow has something that it did not have
    verdict: Verdict
    action: Action
    reasons: list[str]
    run_id: str
    version: str | None  # None where the model was refused
    comparison: list[dict[str, Any]]
    limits: list[dict[str, Any]]


def decide(
    checked: Sequence[Checked],
    differences: Sequence[Difference] | None,
    section: RegisterParams,
    split: SplitReport,
) -> Decision:
    """Judge a challenger.

    Args:
        checked: its limits, with the numbers that were measured; see `check_limits`.
        differences: to the champion, on today's test set; none where it cannot be compared, None
            where there is no champion yet.
        section: `register` of params.yaml.
        split: the report of the stage, for what the comparison counts.

    Returns:
        The decision. A broken limit refuses whatever the comparison says.
    """
    verdict, reasons = judge(differences, section, split["counted"])
    if differences and split["counted"] == "patches":
        reasons.append(
            f"photographs are known of {split['photographs_known']:.0%} of the patches, the others "
            "count one by one, and chance looks smaller than it is"
        )
    broken = [reason for one in checked if (reason := one.broken)]
    action = "refuse" if broken else section.verdicts.action(verdict)
    rows = [one.to_json() | {"margin": section.margins.of(one.metric)} for one in differences or []]
    return Decision(verdict, action, broken + reasons, rows, limit_rows(checked))


def numbers_of(
    reports: StageReports, slices: Iterable[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Return every number that a limit may be set to, by name.

    Args:
        reports: of the stages, by name.
        slices: rows as `cracks.evaluation.slices.slice_rows` returns them; texts are read as
            numbers.

    Returns:
        "STAGE.…" as the reports nest them ("evaluate.test.accuracy"); "bundle.megabytes";
        "slices.FACT.PART.NUMBER", where the part of a number is "lowest", "middle" or "highest"
        ("slices.brightness.lowest.crack_recall"), since its ends change with the data, and that
        of a category is the word itself.
    """
    numbers: dict[str, float | None] = dict(flatten(reports))
    if "export" in reports:
        numbers["bundle.megabytes"] = sum(reports["export"]["sizes"].values()) / 1e6
    rows = list(slices)
    for row, part in zip(rows, _parts(rows), strict=True):
        place = f"slices.{row['fact']}.{part}"
        for key in row.keys() - set(WORDS):
            numbers[f"{place}.{key}"] = None if row[key] in (None, "") else float(row[key])
    return numbers


def check_limits(numbers: Numbers, limits: Mapping[str, LimitParams]) -> list[Checked]:
    """Hold every limit against its number; `*` in its name stands for anything.

    Of the numbers that a name with `*` stands for, those that were not measured are left out.

    Raises:
        ParamsError: there is no number of that name; it lists near ones.
    """
    return [
        Checked(name, numbers[name], limit.min, limit.max)
        for pattern, limit in limits.items()
        for name in _named(pattern, numbers)
    ]


def limit_rows(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """Return the limits as rows of a table, each with whether it holds."""
    return [asdict(one) | {"holds": one.broken is None} for one in checked]


def _named(pattern: str, numbers: Numbers) -> list[str]:
    if pattern in numbers:
        return [pattern]
    found = [name for name in sorted(numbers) if fnmatchcase(name, pattern)]
    if not found:
        near = difflib.get_close_matches(pattern, numbers, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ParamsError(
            f"params.yaml: register.limits: the reports have no number {pattern}.{meant} Fix it "
            "and run `cracks train` again: the stages are up to date."
        )
    return [name for name in found if numbers[name] is not None]


def _parts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how the part of its fact is called that each slice is."""
    texts = [str(row["slice"]).removeprefix(f"{row['fact']} ") for row in rows]
    parts = list(texts)
    for fact in {row["fact"] for row in rows}:
        known = [i for i, row in enumerate(rows) if row["fact"] == fact and texts[i] != UNKNOWN]
        if all(RANGE.fullmatch(texts[i]) for i in known) and len(known) in THIRDS:
            for i, name in zip(known, THIRDS[len(known)], strict=True):
                parts[i] = name
    return parts


def judge(
    differences: Sequence[Difference] | None, section: RegisterParams, counted: Counted
) -> tuple[Verdict, list[str]]:
    """Return the verdict of the comparison alone, and its reasons.

    Args:
        differences: as for `decide`.
        section: `register` of params.yaml.
        counted: what a group is, for the reasons.
    """
    if differences is None:
        return "first", ["it is the first model"]
    if not differences:
        return "undecided", ["today's test set has no crack that is new to the champion"]
    level = 1 - section.confidence
    margin = section.margins.of
    lower = [one for one in differences if one.p_lower <= level]
    higher = [one for one in differences if one.p_higher <= level]
    open_ = [one for one in differences if one.low <= -margin(one.metric)]
    if lower:
        return "worse", [
            f"{_evidence(one, counted)}: really lower, p {one.p_lower:.2g}" for one in lower
        ]
    if open_:
        return "undecided", [
            f"{_evidence(one, counted)}: a loss of {margin(one.metric):g} is not ruled out"
            + _groups_needed(one, margin(one.metric), level, counted)
            for one in open_
        ]
    verdict: Verdict = "better" if higher else "not worse"
    return verdict, [
        f"{_evidence(one, counted)}: really higher, p {one.p_higher:.2g}"
        if one in higher
        else f"{_evidence(one, counted)}: a loss of {margin(one.metric):g} is ruled out"
        for one in differences
    ]


def _evidence(one: Difference, counted: Counted) -> str:
    of = "" if counted == "patches" else f" of {one.groups:,} {counted}"
    return (
        f"{spoken(one.metric)} {one.challenger:.4f} against the champion's {one.champion:.4f} "
        f"(difference {one.difference:+.4f}, bounds {one.low:+.4f} and {one.high:+.4f}, "
        f"{one.gained:,} of {one.patches:,} patches{of} gained, {one.lost:,} lost)"
    )


def _groups_needed(one: Difference, margin: float, level: float, counted: Counted) -> str:
    """Return in words how many groups rule a loss out at best: (1 - margin) ** groups = level."""
    if not 0 < margin < 1:
        return ""
    needed = math.ceil(math.log(level) / math.log1p(-margin))
    return f", which takes {needed:,} {counted}, not {one.groups:,}" if one.groups < needed else ""


def _shown(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else f"{value:,.6g}"
