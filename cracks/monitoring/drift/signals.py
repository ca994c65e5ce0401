"""Judge one window: measure every signal, turn it into evidence, and see which rules fire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from cracks.monitoring.drift.evidence import gathered, needed_for
from cracks.monitoring.drift.null_distribution import NullDistribution, p_value
from cracks.monitoring.drift.window_sums import WindowSums
from cracks.monitoring.history import Signal, SignalName, Window
from cracks.monitoring.request_counts import Counted
from cracks.workspace.params import MonitorParams

DECIMALS = 6


@dataclass(frozen=True)
class ExternalSignals:
    """What is known of a window from elsewhere; None: nobody counted."""

    requests: Counted | None = None  # that the service failed
    feedback: Counted | None = None  # predictions found wrong, of those whose label came since
    new_data: Signal | None = None  # measured already


def judge(
    sums: WindowSums,
    null_distribution: NullDistribution,
    before: Window | None,
    beside: ExternalSignals,
    section: MonitorParams,
) -> tuple[Signal, ...]:
    """Return every signal of a window; `before` is the last one that was judged."""
    limits, slow = section.limits, Counted(sums.slow, sums.answers)
    measured = [
        *_against_reference(sums, null_distribution, section),
        _share_beyond("latency", slow, limits.slow_share, "predictions were slow"),
        _share_beyond("errors", beside.requests, limits.error_share, "requests failed"),
        _share_beyond(
            "accuracy", beside.feedback, limits.wrong_share, "predictions were found wrong"
        ),
    ]
    signals = [_with_evidence(one, before, sums.model_version, section) for one in measured]
    return (*signals, beside.new_data or Signal(name="new_data", says="no data was looked at"))


def _with_evidence(
    measured: Signal, before: Window | None, model_version: str, section: MonitorParams
) -> Signal:
    """Return what was measured in one window with the evidence of the earlier ones."""
    needed = needed_for(section.rules.of(measured.name).false_alarms)
    earlier = before.signal(measured.name) if before else None
    # After an alarm, and with another champion's reference, everything starts again.
    same = before is not None and before.model_version == model_version
    start = earlier.evidence if earlier and same and not earlier.fired else 1.0
    evidence = gathered(start, measured.p_value)
    numbers = measured.model_dump(
        include={"value", "expected", "usual_up_to", "p_value"}, exclude_none=True
    )
    return measured.model_copy(
        update={
            **{name: round(number, DECIMALS) for name, number in numbers.items()},
            "evidence": float(f"{min(evidence, 1e12):.6g}"),
            "needed": needed,
            # A window that brings nothing new fires nothing.
            "fired": needed is not None and measured.p_value is not None and evidence >= needed,
        }
    )


def _against_reference(
    sums: WindowSums, null_distribution: NullDistribution, section: MonitorParams
) -> list[Signal]:
    few = f"{sums.compared} predictions for patches by version {sums.model_version}, too few"
    names: tuple[SignalName, ...] = ("embedding", "scores", "novelty", "crack_share")
    found = {name: Signal(name=name, says=few) for name in names}
    if sums.judged_novel >= section.min_answers:
        drawn = null_distribution.drawn(sums.judged_novel, sums.requests or sums.judged_novel)
        share = sums.novel / sums.judged_novel
        found["novelty"] = _compared(
            share, null_distribution.novelty, drawn.novelty, sums.judged_novel, section, "novelty"
        )
    if sums.compared >= section.min_answers:
        drawn = null_distribution.drawn(sums.compared, sums.requests)
        below = float(np.abs(sums.below / sums.compared - null_distribution.below).max(initial=0))
        found["scores"] = _compared(below, None, drawn.scores, sums.compared, section, "scores")
        found["crack_share"] = _two_sided(
            sums.cracked / sums.compared,
            null_distribution.crack_share,
            drawn.crack_share,
            sums.compared,
        )
        if sums.sketched >= section.min_answers:
            share = sums.far / sums.sketched
            found["embedding"] = _compared(
                share, null_distribution.far, drawn.embedding, sums.sketched, section, "embedding"
            )
    return list(found.values())


def _compared(
    value: float,
    expected: float | None,
    drawn: npt.NDArray[np.float64],
    count: int,
    section: MonitorParams,
    name: SignalName,
) -> Signal:
    rate = section.rules.of(name).false_alarms or 0.01
    middle = float(np.median(drawn)) if expected is None else expected
    usual = float(np.quantile(drawn, 1 - rate))
    return Signal(
        name=name,
        value=value,
        expected=middle,
        usual_up_to=usual,
        count=count,
        p_value=p_value(value, drawn),
        says=f"{value:.3g}, usual up to {usual:.3g}",
    )


def _two_sided(share: float, expected: float, drawn: npt.NDArray[np.float64], count: int) -> Signal:
    away = np.abs(drawn - expected)
    usual = float(np.quantile(away, 0.99))
    return Signal(
        name="crack_share",
        value=share,
        expected=expected,
        usual_up_to=min(expected + usual, 1.0),
        count=count,
        p_value=p_value(abs(share - expected), away),
        says=f"{share:.1%} of predictions say crack, expected are {expected:.1%} ± {usual:.1%}",
    )


def _share_beyond(name: SignalName, counted: Counted | None, limit: float, what: str) -> Signal:
    """Return how sure it is that more than a share `limit` goes wrong (exact binomial test)."""
    if counted is None or not counted.total:
        return Signal(name=name, expected=limit, says="nothing to count")
    from scipy import stats

    wrong, total = counted.wrong, counted.total
    return Signal(
        name=name,
        value=wrong / total,
        expected=limit,
        usual_up_to=float(stats.binom.isf(0.01, total, limit)) / total,
        count=total,
        p_value=max(float(stats.binom.sf(wrong - 1, total, limit)), 0.0),
        says=f"{wrong:,} of {total:,} {what}; {limit:.1%} are taken as they are",
    )


def reason_of(
    signals: tuple[Signal, ...], section: MonitorParams, version: str, begin: str, end: str
) -> str:
    """Return in one line why a training is wanted; empty where none is."""
    wanted = [one for one in signals if one.fired and section.rules.of(one.name).trains]
    if not wanted:
        return ""
    what = "; ".join(f"{one.name} ({one.says}; evidence {one.evidence:.0f})" for one in wanted)
    return f"drift against version {version} in {begin} to {end}: {what}"


def cool_down_is_over(history: list[Window], window: Window, hours: float) -> bool:
    """Return whether enough time has passed since a training was asked for."""
    asked = [one.end for one in history if one.asked_for_training and one.begin != window.begin]
    return not asked or window.end - max(asked) >= timedelta(hours=hours)
