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
    feedback: Counted | None = None  # answers found wrong, of those whose label came since
    new_data: Signal | None = None  # measured already


@dataclass(frozen=True)
class _Measured:
    """A signal of one window, before the evidence of earlier ones."""

    value: float | None = None
    expected: float | None = None
    usual_up_to: float | None = None
    count: int = 0
    p: float | None = None
    says: str = ""


def judge(
    sums: WindowSums,
    null_distribution: NullDistribution,
    before: Window | None,
    beside: ExternalSignals,
    section: MonitorParams,
) -> tuple[Signal, ...]:
    """Return every signal of a window.

    Args:
        sums: of its answers.
        null_distribution: what the champion's reference looks like.
        before: the last window that was judged.
        beside: what is known from elsewhere.
        section: of params.yaml.
    """
    measured = _against_reference(sums, null_distribution, section) | {
        "latency": _share_beyond(
            Counted(sums.slow, sums.answers), section.limits.slow_share, "answers were slow"
        ),
        "errors": _share_beyond(beside.requests, section.limits.error_share, "requests failed"),
        "accuracy": _share_beyond(
            beside.feedback, section.limits.wrong_share, "answers were found wrong"
        ),
    }
    signals = [
        _with_evidence(name, one, before, sums.model_version, section)
        for name, one in measured.items()
    ]
    return (*signals, beside.new_data or Signal(name="new_data", says="no data was looked at"))


def _with_evidence(
    name: SignalName,
    measured: _Measured,
    before: Window | None,
    model_version: str,
    section: MonitorParams,
) -> Signal:
    rate = section.rules.of(name).false_alarms
    needed = needed_for(rate)
    earlier = before.signal(name) if before else None
    # After an alarm, and with another champion's reference, everything starts again.
    same = before is not None and before.model_version == model_version
    start = earlier.evidence if earlier and same and not earlier.fired else 1.0
    evidence = gathered(start, measured.p)
    return Signal(
        name=name,
        value=_rounded(measured.value),
        expected=_rounded(measured.expected),
        usual_up_to=_rounded(measured.usual_up_to),
        count=measured.count,
        p_value=_rounded(measured.p),
        evidence=float(f"{min(evidence, 1e12):.6g}"),
        needed=needed,
        # A window that brings nothing new fires nothing.
        fired=needed is not None and measured.p is not None and evidence >= needed,
        says=measured.says,
    )


def _against_reference(
    sums: WindowSums, null_distribution: NullDistribution, section: MonitorParams
) -> dict[SignalName, _Measured]:
    few = f"{sums.compared} answers for patches by version {sums.model_version}, too few"
    nothing: dict[SignalName, _Measured] = {
        "embedding": _Measured(says=few),
        "scores": _Measured(says=few),
        "novelty": _Measured(says=few),
        "crack_share": _Measured(says=few),
    }
    found = dict(nothing)
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
    return found


def _compared(
    value: float,
    expected: float | None,
    drawn: npt.NDArray[np.float64],
    count: int,
    section: MonitorParams,
    name: SignalName,
) -> _Measured:
    rate = section.rules.of(name).false_alarms or 0.01
    middle = float(np.median(drawn)) if expected is None else expected
    usual = float(np.quantile(drawn, 1 - rate))
    p = p_value(value, drawn)
    says = f"{value:.3g}, usual up to {usual:.3g}"
    return _Measured(value, middle, usual, count, p, says)


def _two_sided(
    share: float, expected: float, drawn: npt.NDArray[np.float64], count: int
) -> _Measured:
    away = np.abs(drawn - expected)
    usual = float(np.quantile(away, 0.99))
    says = f"{share:.1%} of answers say crack, expected are {expected:.1%} ± {usual:.1%}"
    return _Measured(
        share,
        expected,
        min(expected + usual, 1.0),
        count,
        p_value(abs(share - expected), away),
        says,
    )


def _share_beyond(counted: Counted | None, limit: float, what: str) -> _Measured:
    """Return how sure it is that more than a share `limit` goes wrong (exact binomial test)."""
    if counted is None or not counted.total:
        return _Measured(expected=limit, says="nothing to count")
    from scipy import stats

    share = counted.wrong / counted.total
    p = float(stats.binom.sf(counted.wrong - 1, counted.total, limit))
    usual = float(stats.binom.isf(0.01, counted.total, limit)) / counted.total
    says = f"{counted.wrong:,} of {counted.total:,} {what}; {limit:.1%} are taken as they are"
    return _Measured(share, limit, usual, counted.total, max(p, 0.0), says)


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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)
