"""Calibrate scores to probabilities: fitted on validation, applied in service."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cracks.workspace.stage_reports import CalibrationEffect, Reliability

Method = Literal["temperature", "isotonic", "none"]

#: Scores are kept so far from 0 and 1 before their logarithm is taken: about what float32 resolves.
EDGE: Final = 1e-7

#: A network that is right but off by more than this factor is not miscalibrated, it is broken.
COLDEST, HOTTEST = 0.05, 20.0

#: Further decimals are below what the minimiser finds.
DECIMALS: Final = 6

BINS: Final = 15

Share = Annotated[float, Field(ge=0, le=1)]
Inside = Annotated[float, Field(gt=0, lt=1)]

Cracked = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


class Calibration(BaseModel):
    """A monotone map of scores to probabilities; it never reverses the order of two patches."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Method = "none"
    #: Of `temperature`: what the logit of a score is divided by. Above 1 scores get less sure.
    temperature: Annotated[float, Field(ge=COLDEST, le=HOTTEST)] | None = None
    #: Of `isotonic`: pairs of a score and its probability, both rising, joined by straight lines.
    knots: tuple[tuple[Share, Inside], ...] = ()

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        if (self.temperature is not None) != (self.method == "temperature"):
            raise ValueError(f"method {self.method} cannot have temperature {self.temperature}")
        if bool(self.knots) != (self.method == "isotonic"):
            raise ValueError(f"method {self.method} cannot have {len(self.knots)} knots")
        scores, probabilities = np.array(self.knots).reshape(-1, 2).T
        if (np.diff(scores) <= 0).any() or (np.diff(probabilities) < 0).any():
            raise ValueError("the knots do not rise")
        return self

    def apply(self, scores: npt.NDArray[np.floating[Any]]) -> Scores:
        """Return the probability of a crack, float64 (n,), for float scores (n,) in [0, 1]."""
        plain = np.asarray(scores, np.float64)
        if self.temperature is not None:
            calm: Scores = 1 / (1 + np.exp(-_logits(plain) / self.temperature))
            return calm
        if self.knots:
            known, probabilities = np.array(self.knots).T
            between: Scores = np.interp(plain, known, probabilities)
            return between
        return plain.copy()


def fit_calibration(method: Method, cracked: Cracked, scores: Scores) -> Calibration:
    """Return the calibration that fits the labels best.

    Both methods aim at smoothed targets instead of 0 and 1: of N patches that were all predicted
    correctly, the next may still be wrong with a chance of about 1 in N. Without it a split that is
    separated perfectly, as ours nearly are, would make every prediction certain.

    Args:
        method: `temperature` divides the logits by one number (Guo et al., "On Calibration of
            Modern Neural Networks", ICML 2017, section 4.2) towards the targets of Platt
            ("Probabilistic Outputs for Support Vector Machines", 1999); `isotonic` fits the rising
            steps that are nearest (Zadrozny & Elkan, "Transforming Classifier Scores into Accurate
            Multiclass Probability Estimates", KDD 2002), each smoothed by Laplace's rule of
            succession; `none` leaves the scores alone.
        cracked: bool (n,), the labels of patches that the model was not trained on.
        scores: float (n,), probability of a crack in [0, 1].

    Raises:
        ValueError: one of the labels does not occur.
    """
    if method == "none":
        return Calibration()
    if cracked.all() or not cracked.any():
        raise ValueError("both labels must occur to calibrate a classifier")
    if method == "temperature":
        return Calibration(method=method, temperature=_best_temperature(cracked, scores))
    return Calibration(method=method, knots=_rising_steps(cracked, scores))


def expected_calibration_error(cracked: Cracked, scores: Scores, bins: int = BINS) -> float:
    """Return how far scores and shares of cracks lie apart, on the mean over the patches.

    Bins of equal width over the probability of a crack, each closed on its left. Introduced by
    Naeini, Cooper & Hauskrecht ("Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015); with 15 equally wide bins by Guo et al. (ICML 2017, section 2), who bin the
    probability of the predicted label.

    Args:
        cracked: bool (n,), the true labels.
        scores: float (n,), probability of a crack in [0, 1].
        bins: how many.
    """
    apart = np.bincount(bin_of(scores, bins), scores - cracked)
    return float(np.abs(apart).sum() / len(scores))


def bin_of(scores: Scores, bins: int) -> npt.NDArray[np.intp]:
    """Return the number of the equally wide bin of each score, int (n,)."""
    return np.clip((scores * bins).astype(np.intp), 0, bins - 1)


def calibration_report(
    calibration: Calibration, cracked: Cracked, scores: Scores
) -> CalibrationEffect:
    """Return how well the scores are calibrated before and after the calibration.

    Args:
        calibration: fitted on other patches than these.
        cracked: bool (n,), the true labels.
        scores: float (n,), as the network gave them, in [0, 1].

    Returns:
        "method", "temperature" (None if it is another method), "before" and "after", each with
        "ece", "brier" and "log_loss" (in nats; scores of 0 and 1 count as 1e-7 off).
    """
    return {
        "method": calibration.method,
        "temperature": calibration.temperature,
        "before": _reliability(cracked, np.asarray(scores, np.float64)),
        "after": _reliability(cracked, calibration.apply(scores)),
    }


def _reliability(cracked: Cracked, scores: Scores) -> Reliability:
    return {
        "ece": expected_calibration_error(cracked, scores),
        "brier": float(np.mean((scores - cracked) ** 2)),
        "log_loss": _log_loss(cracked.astype(np.float64), _logits(scores)),
    }


def _logits(scores: Scores) -> Scores:
    inside = np.clip(scores, EDGE, 1 - EDGE)
    return np.log(inside) - np.log1p(-inside)


def _log_loss(targets: Scores, logits: Scores) -> float:
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _best_temperature(cracked: Cracked, scores: Scores) -> float:
    from scipy.optimize import minimize_scalar

    logits = _logits(scores)
    if not logits.any():
        # Scores that are all one half are so at every temperature.
        return 1.0
    cracks, clean = int(cracked.sum()), int((~cracked).sum())
    targets = np.where(cracked, (cracks + 1) / (cracks + 2), 1 / (clean + 2))
    # In the logarithm a factor up and a factor down weigh the same; there is one valley.
    best = minimize_scalar(
        lambda logarithm: _log_loss(targets, logits / np.exp(logarithm)),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.clip(round(float(np.exp(best.x)), DECIMALS), COLDEST, HOTTEST))


def _rising_steps(cracked: Cracked, scores: Scores) -> tuple[tuple[float, float], ...]:
    from sklearn.isotonic import isotonic_regression

    levels, level = np.unique(scores, return_inverse=True)
    patches, cracks = np.bincount(level), np.bincount(level, cracked)
    shares = isotonic_regression(cracks / patches, sample_weight=patches)
    step = np.concatenate([[0], np.cumsum(np.diff(shares) > 1e-12)])
    patches, cracks = np.bincount(step, patches), np.bincount(step, cracks)
    # Smoothing can put a short step above its longer neighbour, so they are made to rise again.
    smoothed = isotonic_regression((cracks + 1) / (patches + 2), sample_weight=patches + 2)
    last_of_step = np.append(np.flatnonzero(np.diff(step)), len(levels) - 1)
    first_of_step = np.append(0, last_of_step[:-1] + 1)
    ends = np.unique(np.concatenate([first_of_step, last_of_step]))
    return tuple((float(levels[i]), float(smoothed[step[i]])) for i in ends)
