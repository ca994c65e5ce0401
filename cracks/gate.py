"""Decide whether a challenger is registered: within its limits, no worse than the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cracks.params import RegisterParams


@dataclass(frozen=True)
class Decision:
    """Whether a challenger is accepted, and every reason in words with its numbers."""

    accepted: bool
    reasons: list[str]
    comparison: list[dict[str, Any]] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """`accepted` or `refused`."""
        return "accepted" if self.accepted else "refused"


def decide(
    challenger: Mapping[str, float], champion: Mapping[str, float] | None, limits: RegisterParams
) -> Decision:
    """Compare a challenger with the limits and with the champion.

    Args:
        challenger: its metrics on today's test set, at least `accuracy` and `recall`.
        champion: the champion's metrics on the same patches, or None where there is none yet.
        limits: the section `register` of params.yaml.

    Returns:
        The decision; a refusal names every limit that is broken.
    """
    minima = {"accuracy": limits.min_accuracy, "recall": limits.min_recall}
    drops = {"accuracy": limits.max_accuracy_drop, "recall": limits.max_recall_drop}
    rows = [_compare(name, challenger, champion, minima[name], drops[name]) for name in minima]
    broken = [reason for row in rows for reason in row.pop("broken")]
    if broken:
        return Decision(False, broken, rows)
    if champion is None:
        return Decision(True, ["it is the first model, and within every limit"], rows)
    return Decision(True, ["it is no worse than the champion, and within every limit"], rows)


def _compare(
    name: str,
    challenger: Mapping[str, float],
    champion: Mapping[str, float] | None,
    minimum: float,
    max_drop: float,
) -> dict[str, Any]:
    value, broken = challenger[name], []
    if value < minimum:
        broken.append(f"test {name} {value:.4f} is below register.min_{name} {minimum:.4f}")
    old = champion[name] if champion else None
    # Metrics are quotients of counts; the tolerance only undoes the rounding of the subtraction.
    if old is not None and value < old - max_drop - 1e-12:
        broken.append(
            f"test {name} {value:.4f} is {old - value:.4f} below the champion's {old:.4f}, "
            f"where register.max_{name}_drop allows {max_drop:.4f}"
        )
    return {
        "metric": name,
        "challenger": value,
        "champion": old,
        "minimum": minimum,
        "max_drop": max_drop,
        "broken": broken,
    }
