"""Gather evidence over many windows without crying wolf: e-values in place of repeated tests.

A test of level 1 % that is asked every hour gives a false alarm every four days. So each window's
p-value is made an e-value, a bet that loses on the average while nothing has changed, and the
evidence is the product of the bets since a fresh start was last worth more:

    evidence = max(evidence before, 1) × e(p)        alarm at evidence ≥ 1 / rate

Without drift an alarm then comes once in 1 / rate windows on the average or more rarely, however
long one looks and whenever one stops. It rests on p-values that keep their word given what came
before; all windows share one reference, so they do so only as far as that one is typical.

Sources: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change
detection", New England Journal of Statistics in Data Science 2 (2024), section 2 (the e-detector of
CUSUM type and its average run length); Vovk, Wang, "E-values: calibration, combination and
applications", Annals of Statistics 49 (2021), equation 2 (the calibrator).
"""

from __future__ import annotations

import math

#: No single window counts more than this: two of them are wanted at least, at 1 % and below.
LEAST_P = 0.001


def e_value(p_value: float) -> float:
    """Return the bet that a p-value wins; its mean over uniform p-values is at most 1.

    It is the average of κ p^(κ-1) over all κ from 0 to 1.
    """
    p = min(max(p_value, LEAST_P), 1.0)
    # Near 1 the formula is 0 / 0; the limit is 1/2, and the function falls.
    if p > 0.999:
        return 0.5
    log = math.log(p)
    return (1 - p + p * log) / (p * log * log)


def gathered(before: float, p_value: float | None) -> float:
    """Return the evidence after one more window; one that could not be measured changes nothing."""
    return before if p_value is None else max(before, 1.0) * e_value(p_value)


def needed_for(rate: float) -> float | None:
    """Return the evidence that an alarm takes, at so many false alarms a window; 0: no alarm."""
    return 1 / rate if rate else None
